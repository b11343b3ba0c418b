"""Check plugins by running them once: ``python tools/check_plugin.py plugins/NAME``."""

import sys

from x2vlm.cli import run

if __name__ == "__main__":
    sys.exit(run("check-plugin"))
