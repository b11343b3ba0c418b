"""Hooks of the training loop: logging, throughput, stopping, compiled blocks, the terminal."""
