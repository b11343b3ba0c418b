"""Time and memory against the reference path: ``python tools/benchmark.py train-step --size tiny``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("benchmark"))
