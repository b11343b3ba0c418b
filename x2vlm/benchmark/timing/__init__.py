"""Measurements of one run: seconds, FLOPs, peak memory, dispatched operators, GPU kernels."""
