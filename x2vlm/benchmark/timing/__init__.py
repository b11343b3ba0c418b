"""Measuring: seconds, memory, operators, kernels; both sides in turns."""
