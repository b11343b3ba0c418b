"""Write OpenMMLab's model-index.yml and the metafile.yml of each folder of models: ``python tools/metafiles.py``."""

import sys
from pathlib import Path

from x2vlm.config.metafiles import metafiles

ROOT = Path(__file__).resolve().parents[1]


def main():
    """Write those that changed; returns the exit status."""
    for name, text in metafiles(ROOT).items():
        file = ROOT / name
        if not file.is_file() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
            print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
