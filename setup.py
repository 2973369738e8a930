"""The packages of DeepBase: `deepbase/`, and beside it `sql/` and `hypotheses/`, which are imported as parts of it."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["deepbase", "deepbase.*"]),
        "deepbase.sql",
        "deepbase.sql.examples",
        "deepbase.hypotheses",
        *(f"deepbase.hypotheses.{p}" for p in find_packages("hypotheses")),
    ]
)
