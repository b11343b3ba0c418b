"""Look at a data set as training sees it: ``python tools/browse_dataset.py CONFIG --out page.html``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("browse-dataset"))
