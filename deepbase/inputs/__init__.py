"""Datasets to records to symbols: what a model reads, and where each of its tokens stands in the text."""
