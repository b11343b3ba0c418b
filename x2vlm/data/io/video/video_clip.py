"""An opened video, as all readers give it: ``reader.open(source)`` is a clip with a length and frames by index."""

import importlib.util
from collections.abc import Sequence
from os import PathLike
from os.path import isfile
from typing import Protocol

import numpy as np

from x2vlm.data.record import RecordError

Source = str | PathLike | bytes


class Clip(Protocol):
    """An opened video: number of frames, frames by index, frames a second."""

    fps: float  # frames a second; 0 where the file has none

    def __len__(self) -> int:
        """Number of frames."""

    def get(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames at ``indices``, each ``[H, W, 3]`` uint8 RGB, in this order."""


def require_package(package: str, reader: str) -> None:
    """Check that a reader's package is installed.

    Raises:
        ValueError: If it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{reader} needs the package '{package}', which is not installed: pip install 'x2vlm[video]'")


def checked_name(source: Source) -> str:
    """The name of a video in messages.

    Raises:
        RecordError: If it is a file that does not exist.
    """
    if isinstance(source, bytes):
        return f"video of {len(source):,} bytes"
    if not isfile(source):
        raise RecordError(str(source), "no such file")
    return str(source)


def checked_indices(indices: Sequence[int], length: int, name: str) -> list[int]:
    """``indices`` as Python integers.

    Raises:
        RecordError: If one of them is no frame of the video.
    """
    frame_indices = [int(index) for index in indices]
    outside = [index for index in frame_indices if not 0 <= index < length]
    if outside:
        raise RecordError(name, f"has {length} frames, counted from 0, so there is no frame {outside[0]}")
    return frame_indices
