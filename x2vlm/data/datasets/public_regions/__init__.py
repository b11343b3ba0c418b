"""Public regions, objects and phrases with boxes, in the files in which they are published."""
