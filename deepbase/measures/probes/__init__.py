"""Probes: classifiers and regressions over a group of units, fitted for all hypotheses at once."""
