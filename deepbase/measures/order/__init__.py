"""Measures that look at the order of a unit's values only: one state, one sort a unit, one walk over it."""
