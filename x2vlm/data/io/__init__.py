"""Files and bytes: paths, indexes of lines and tar members, decoding of images and videos, limits."""
