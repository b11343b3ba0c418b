"""Inspect whole data sets: statistics, drawn records, leakage between data sets."""
