"""Crop, resize and mirror images; their boxes follow in ``box_geometry``.

Images are ``[H, W, 3]`` uint8 arrays, crop boxes (x0, y0, x1, y1) in whole pixels.
"""

from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from torch.nn.functional import interpolate

from x2vlm.building import suggestion
from x2vlm.data.record import Record

Size = int | tuple[int, int]
CropBox = tuple[int, int, int, int]

BACKENDS = ("torch", "pillow")
"""Implementations of :func:`resize`."""


def with_size(results: Record, frame: np.ndarray) -> dict[str, Any]:
    """The record's extras with ``image_size``, the (height, width) of a frame, by which boxes can be mapped back."""
    return results.get("extras", {}) | {"image_size": frame.shape[:2]}


def frame_size(results: Record) -> tuple[int, int]:
    """(height, width) of the frames as they are now."""
    return results["frames"][0].shape[:2]


def are_separate_images(results: Record) -> bool:
    """Whether the frames are several images that a text attends to, and not one image or the frames of a clip."""
    return "images" in results


def parse_size(size: Size) -> tuple[int, int]:
    """(height, width) from one side or from both.

    Raises:
        ValueError: If it is neither.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"size is {size}; expected a side, or (height, width), in pixels")
    return int(height), int(width)


def resize(frame: np.ndarray, size: tuple[int, int], backend: str = "torch") -> np.ndarray:
    """The frame at (height, width) ``size``, by the bicubic filter that Pillow introduced.

    Args:
        frame: ``[H, W, 3]`` uint8.
        size: Height and width of what comes out.
        backend: One of :data:`BACKENDS`. ``"torch"`` takes the rows first and then the columns, as the Pillow of the
            published code did, and differs from it by one level in few values (two on rare ones in images that
            grow), since its weights have 16 bits. ``"pillow"`` gives what the installed Pillow gives; recent ones take
            whichever is less work first, which differs by several levels where contrasts are strong.
    """
    if frame.shape[:2] == size:
        return frame
    if backend == "pillow":
        return mmcv.imresize(frame, size[::-1], interpolation="bicubic", backend="pillow")
    frame = np.require(frame, requirements=["C", "W"])
    pixels = torch.from_numpy(frame).view(1, *frame.shape).permute(0, 3, 1, 2)  # stays in this order in memory
    return interpolate(pixels, size=size, mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()


def checked_backend(backend: str) -> str:
    """``backend``, if :func:`resize` knows it.

    Raises:
        ValueError: If it does not.
    """
    if backend not in BACKENDS:
        near = suggestion(str(backend), BACKENDS)
        raise ValueError(f"backend is {backend!r}.{near} Accepted: {', '.join(BACKENDS)}.")
    return backend


def crop(frame: np.ndarray, box: CropBox) -> np.ndarray:
    """The part of a frame inside (x0, y0, x1, y1); a view, nothing is copied."""
    x0, y0, x1, y1 = box
    return frame[y0:y1, x0:x1]


def mirror(frame: np.ndarray) -> np.ndarray:
    """The frame with left and right exchanged, copied (a mirrored view would be slow to read)."""
    return cv2.flip(frame, 1)
