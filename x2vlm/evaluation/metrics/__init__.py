"""Pure functions from predictions and truths to numbers."""
