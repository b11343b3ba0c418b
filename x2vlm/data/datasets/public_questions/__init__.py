"""Public questions and statements about images, in the files in which they are published."""
