"""Tools for whole data sets: statistics, leakage between data sets, tar shards."""
