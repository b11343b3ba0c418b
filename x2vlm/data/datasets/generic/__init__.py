"""Formats of no data set in particular: tables of images, aligned text, the files of the Hugging Face library."""
