"""Decode images from paths, bytes or arrays to RGB, with limits; an image that cannot be decoded is a bad record."""

import base64
import binascii
import io
import struct
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, features

from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.io.paths import read_bytes
from x2vlm.data.record import RecordError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", *(("AVIF",) if "avif" in features.modules else ()))
"""Accepted formats. Others are refused: some are read by other programs (EPS), all enlarge the attack surface."""

_ORIENTATION = 0x0112  # the EXIF tag

MAX_PIXELS = 89_478_485
"""The size above which Pillow warns of decompression bombs."""

# What Pillow's decoders raise for broken files, found by damaging files of each format.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    RuntimeError,  # AVIF
)


def decode_image(
    source: str | PathLike | bytes | np.ndarray,
    where: str,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    at_least: int = 0,
    exif: bool = False,
) -> np.ndarray:
    """Decode one image.

    Transparency is dropped, grey and palette images become RGB, grey of 16 and 32 bits is scaled to 8 bits. The
    orientation noted in EXIF data is not applied unless asked for: boxes are annotated on the stored pixels.

    Args:
        source: A file, the bytes of one, or an ``[H, W, 3]`` uint8 array, which is returned as it is.
        where: ``file:line`` of the record, for messages.
        max_pixels: Largest width times height. Checked before the pixels are unpacked.
        max_bytes: Largest file.
        at_least: A JPEG image is decoded at the smallest scale, half or less, at which both sides have so many pixels
            or more, within the inverse transform. 0, or an image too small for that: at full size.
        exif: Turn and mirror the image as its EXIF orientation says.

    Returns:
        ``[H, W, 3]`` uint8, RGB.

    Raises:
        RecordError: If the file is missing, broken, cut short, in another format, or over a limit.
    """
    if isinstance(source, np.ndarray):
        return _checked_array(source, where)
    if isinstance(source, str | PathLike):
        name, data = str(Path(source)), read_bytes(source, where, max_bytes)
    elif len(source) <= max_bytes:
        name, data = f"image of {len(source):,} bytes", source
    else:
        raise RecordError(where, f"image is larger than the limit of {max_bytes:,} bytes (max_bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height <= max_pixels:
                return _pixels(image, data, at_least, exif)
            size = f"{image.width}x{image.height}"
    except Image.UnidentifiedImageError as error:
        problem = f"is broken or not one of {', '.join(FORMATS)}" if data else "is empty; expected an image"
        raise RecordError(where, f"{name} {problem}") from error
    except _BROKEN as error:
        raise RecordError(where, f"{name} cannot be decoded: {error}") from error
    raise RecordError(where, f"{name} has {size} pixels, over the limit of {max_pixels:,} (max_pixels)")


def decode_pillow(image: Image.Image, where: str) -> np.ndarray:
    """A Pillow image, upright, as :func:`decode_image` gives its file.

    Raises:
        RecordError: If its file, which Pillow reads late, is broken.
    """
    try:
        return np.array(_rgb(ImageOps.exif_transpose(image)))
    except _BROKEN as error:
        raise RecordError(where, f"a Pillow image cannot be decoded: {error}") from error


def _pixels(image: Image.Image, data: bytes, at_least: int, exif: bool) -> np.ndarray:
    if exif and image.getexif().get(_ORIENTATION, 1) != 1:
        return np.array(_rgb(ImageOps.exif_transpose(image)))
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        try:  # the same library and steps as in Pillow, so the same pixels, without Pillow's copies
            scale = {"min_height": at_least, "min_width": at_least, "min_factor": 2} if at_least else {}
            return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True, **scale)
        except ValueError:
            pass  # perhaps a small defect: Pillow decides whether the file can be used
    return np.array(_rgb(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion cuts off everything above 255
        levels = np.asarray(image).astype(np.int64)
        step = 257 if levels.max(initial=0) < 2**16 else 2**24 + 2**16 + 2**8 + 1  # from 16 bits, from 32
        image = Image.fromarray((levels // step).clip(0, 255).astype(np.uint8))
    elif image.mode == "F":  # TIFF of measured values: from 0 to 1, or as large as they are
        levels = np.nan_to_num(np.asarray(image, dtype=np.float64))
        most = levels.max(initial=0)
        scale = 255 if most <= 1 else 1 if most <= 255 else 255 / 65535 if most <= 65535 else 255 / most
        image = Image.fromarray((levels * scale).clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _checked_array(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise RecordError(where, f"expected an [H, W, 3] uint8 image, got {list(array.shape)} {array.dtype}")
    return array


def from_base64(value: Any, where: str) -> bytes:
    """The bytes that a base64 string stands for; white-space in it is ignored.

    Raises:
        RecordError: If it is not base64, e.g. because it is a path.
    """
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (AttributeError, ValueError, binascii.Error) as error:
        raise RecordError(where, f"expected base64, got {value!r:.60} ({error})") from error
