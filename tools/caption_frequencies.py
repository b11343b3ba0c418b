"""Count n-grams of training captions: ``python tools/caption_frequencies.py CONFIG OUT [--stream NAME]``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("caption-frequencies"))
