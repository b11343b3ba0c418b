"""Launching processes, naming the one that stalls, and fully sharded training."""
