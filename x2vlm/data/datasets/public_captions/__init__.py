"""Public captions of images, in the files in which they are published."""
