"""Make a pre-training list from raw sets: ``python tools/build_pretraining_set.py RAW OUT``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("build-pretraining-set"))
