"""Failures during training: NaN, out of memory, dead data workers, bad records; and saving the last step."""
