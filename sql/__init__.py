"""The SQL of DeepBase: the tables of the catalog, as package data."""
