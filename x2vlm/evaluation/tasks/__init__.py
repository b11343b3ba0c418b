"""One metric class for each task: runs the model over a loader and returns named numbers."""
