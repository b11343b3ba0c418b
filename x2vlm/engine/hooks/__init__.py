"""Hooks of the training loop: logging, progress bar, signals, EMA, compiled blocks, data loading bottlenecks."""
