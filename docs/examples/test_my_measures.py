"""Tests of the measures of my_measures.py."""

import my_measures
import numpy as np

from deepbase.testing import Reference, check_measure


def test_slope():
    """It is the covariance, by the variance of the hypothesis."""
    check_measure(my_measures.Slope, lambda x, y: np.cov(x, y)[0, 1] / np.var(y, ddof=1))


def test_margin():
    """It has a score for a single positive, too, and for units that are constant."""
    defined = ("constant unit", "few positives", "few negatives")
    check_measure(my_measures.Margin, Reference(lambda x, y: x[y == 1].min() - x[y == 0].max(), defined=defined))
