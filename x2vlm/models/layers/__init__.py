"""Layers that towers share: attention and its backends, stochastic depth, packing, precision."""
