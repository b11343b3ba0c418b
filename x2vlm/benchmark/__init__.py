"""The benchmark: the library against the reference path, and how cost grows with the input."""
