"""Encode and search a large gallery: ``python tools/gallery.py encode CONFIG CHECKPOINT FOLDER``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("gallery"))
