"""Public captions of videos, in the files in which they are published."""
