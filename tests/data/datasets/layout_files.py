"""What the written layouts of public data sets are made of."""

import json
from typing import Any, NamedTuple

from PIL import Image


class Layout(NamedTuple):
    """A written layout: how it is configured, how many records are whole, what is wrong with the others, the first one.

    ``decoded``: what is wrong is in an image, or in how it fits, and seen when that is read.
    """

    config: dict[str, Any]
    whole: int
    broken: list[str]
    first: dict[str, Any]
    decoded: bool = False


def image(path, size=(64, 48), color=(200, 30, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def clips(folder, *names, frames=12):
    from tests.data.conftest import clip_writer

    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        clip_writer(folder)(frames=frames, name=name)
