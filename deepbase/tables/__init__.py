"""Symbols, activations and the values of hypotheses as virtual tables of SQL."""
