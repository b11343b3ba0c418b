"""Hooks of the training loop: logging, trackers, progress bar, signals, EMA, compiled blocks, data bottlenecks."""
