"""The sections of the check that needs a GPU, and its table."""
