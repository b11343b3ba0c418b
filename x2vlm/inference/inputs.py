"""Images as people have them: paths, bytes, open files, Pillow images, arrays, tensors, and addresses if asked for."""

import io
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO
from urllib.request import Request, urlopen

import numpy as np
from PIL import ExifTags, Image
from torch import Tensor

from x2vlm.data.io.image_decoding import FORMATS, decode_image, decode_pillow
from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.record import RecordError

ImageInput = str | PathLike | bytes | BinaryIO | Image.Image | np.ndarray | Tensor

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")

_WHERE = "the given image"
_TIMEOUT_S = 20


def as_image(image: ImageInput, urls: bool = False) -> np.ndarray:
    """``[H, W, 3]`` uint8 RGB, upright: the orientation that a camera notes in EXIF data is applied.

    Args:
        image: A path, the bytes of a file, an open file, a Pillow image; an array ``[H, W, 3]``, ``[H, W, 4]`` or
            ``[H, W]``, uint8 or float in 0..1; a tensor ``[3, H, W]`` or ``[1, H, W]``, likewise.
        urls: Fetch what begins with ``http://`` or ``https://``. Off: nothing is fetched.

    Raises:
        ValueError: If it is none of these, or out of range.
        RecordError: If a file is missing, broken or over a limit.
    """
    if isinstance(image, Image.Image):
        return decode_pillow(image, _WHERE)
    if isinstance(image, Tensor):
        return _from_array(_channels_last(image))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        return _upright(fetch(image, urls))
    if isinstance(image, str | PathLike):
        path = Path(image).expanduser()
        if path.suffix.lower() in VIDEO_ENDINGS:
            raise ValueError(f"{path} is a video; expected an image. Methods take clips as video=PATH.")
        return _upright(path)
    if isinstance(image, bytes | bytearray | memoryview):
        return _upright(bytes(image))
    if hasattr(image, "read"):
        data = image.read()
        if not isinstance(data, bytes):
            raise ValueError("the given file is open for text; open it in mode 'rb'.")
        return _upright(data)
    raise ValueError(
        f"an image is a path, bytes, an open file, a Pillow image, an array or a tensor; given {type(image).__name__}."
    )


def fetch(address: str, allowed: bool) -> bytes:
    """What stands at an address, if fetching is allowed.

    Raises:
        ValueError: If it is not, or the address does not answer.
    """
    if not allowed:
        raise ValueError(f"{address} is an address, and none is fetched unless asked for: set urls=True.")
    try:
        with urlopen(Request(address, headers={"User-Agent": "x2vlm"}), timeout=_TIMEOUT_S) as answer:
            data = answer.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{address} cannot be fetched: {error}") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"{address} holds more than the limit of {MAX_BYTES:,} bytes.")
    return data


def images_in(folder: str | PathLike) -> list[Path]:
    """The image files in a folder and all below it, sorted; hidden ones are left out.

    Raises:
        ValueError: If there is no such folder, or no image in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder.")
    inside = (path for path in folder.rglob("*") if not any(part.startswith(".") for part in _below(path, folder)))
    files = sorted(path for path in inside if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())
    if not files:
        raise ValueError(f"{folder} holds no image: files end in {', '.join(IMAGE_ENDINGS)}.")
    return files


def with_name(image: Any, reason: str) -> str:
    """Why an image cannot be read, beginning with its name."""
    return reason if reason.startswith(f"{image} ") else f"{image}: {reason}"


def is_many(image: Any) -> bool:
    """Whether several images were given (a list or tuple) and not one."""
    return isinstance(image, Sequence) and not isinstance(image, str | bytes | bytearray)


def _below(path: Path, folder: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts


def _upright(source: Path | bytes) -> np.ndarray:
    pixels = decode_image(source, _WHERE)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError):  # the pixels could be read; what is said of them cannot
        return pixels
    return _TURNED.get(turn, lambda array: array)(pixels)


_TURNED = {
    2: lambda array: np.ascontiguousarray(array[:, ::-1]),
    3: lambda array: np.ascontiguousarray(np.rot90(array, 2)),
    4: lambda array: np.ascontiguousarray(array[::-1]),
    5: lambda array: np.ascontiguousarray(array.transpose(1, 0, 2)),
    6: lambda array: np.ascontiguousarray(np.rot90(array, -1)),
    7: lambda array: np.ascontiguousarray(np.rot90(array, 2).transpose(1, 0, 2)),
    8: lambda array: np.ascontiguousarray(np.rot90(array)),
}
"""What undoes each orientation of the EXIF standard (tag 0x0112)."""


def _channels_last(image: Tensor) -> np.ndarray:
    if image.dim() != 3 or image.shape[0] not in (1, 3, 4):
        raise ValueError(f"an image tensor is [3, H, W] (or 1 or 4 channels); given {list(image.shape)}.")
    return image.detach().cpu().permute(1, 2, 0).numpy()


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"an image array is [H, W, 3], [H, W, 4] or [H, W]; given {list(array.shape)}.")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ValueError(
                "a float image has values in 0..1 (and is not normalised yet); given "
                f"{np.nanmin(array):.3g} to {np.nanmax(array):.3g}."
            )
        array = (array * 255).round().astype(np.uint8)
    if array.dtype == bool or array.dtype != np.uint8:
        raise ValueError(f"an image array is uint8 (0..255) or float (0..1); given {array.dtype}.")
    array = array[:, :, :3] if array.shape[2] >= 3 else array.repeat(3, axis=2)
    try:
        return decode_image(np.ascontiguousarray(array), _WHERE)
    except RecordError as error:  # cannot be: all was checked
        raise ValueError(str(error)) from error
