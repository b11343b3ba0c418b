"""Tiny files for the adapters: images of a few pixels, JSON lines, tar files, clips of a few frames."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image


def png_bytes(color=(200, 30, 30), size=(8, 8), mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def png():
    """An image of one colour as PNG bytes: ``png(color, size=(width, height), mode)``."""
    return png_bytes


@pytest.fixture
def write_lines(tmp_path):
    """Writes a JSON-lines file; strings are written as they are."""

    def write(*lines, name="train.jsonl"):
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def write_tar(tmp_path):
    """Writes a tar file of (name, bytes) members."""

    def write(*members, name="shard.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return tmp_path / name

    return write


@pytest.fixture
def write_clip(tmp_path):
    """Writes a clip whose frame ``i`` is grey of level ``20 * i`` (from 0 again where that is more than 255)."""
    return clip_writer(tmp_path)


def clip_writer(folder):
    """What ``write_clip`` is, for a folder."""
    av = pytest.importorskip("av")

    def write(frames=6, name="clip.mp4", codec="libx264", size=(32, 16), gop=3):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=5)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", gop
            for i in range(frames):
                image = np.full((size[1], size[0], 3), 20 * i % 256, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        return folder / name

    return write
