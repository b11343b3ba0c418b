"""Report the contents of a data set and its broken records: ``python tools/verify_dataset.py CONFIG [--json]``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("verify-dataset"))
