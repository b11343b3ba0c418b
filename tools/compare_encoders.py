"""Compare encoders with transformers and timm: ``python tools/compare_encoders.py [NAME...]``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("compare-encoders"))
