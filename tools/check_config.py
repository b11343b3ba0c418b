"""Report every problem of configs without training: ``python tools/check_config.py CONFIG... [--cfg-options ...]``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("check-config"))
