"""Pictures with boxes on them, large enough to be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from x2vlm.data.io.image_decoding import decode_image

Picture = str | PathLike | bytes | np.ndarray | Image.Image

# Told apart by most colour-blind people, on light and dark ground (after Okabe and Ito).
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2", "#ffffff")


@dataclass(frozen=True)
class DrawnBox:
    """A box to draw.

    Attributes:
        xyxy_px: Corners in pixels of the picture; what lies outside is cut off.
        label: Written at its upper left corner; empty for none.
        color: Any colour Pillow knows.
        dashed: Broken lines, for what was predicted beside what is true.
    """

    xyxy_px: Sequence[float]
    label: str = ""
    color: str = COLORS[0]
    dashed: bool = False


def as_array(picture: Picture) -> np.ndarray:
    """``[H, W, 3]`` uint8 RGB from a path, the bytes of a file, an array or a Pillow image.

    Raises:
        RecordError: If the file is missing or broken, or the array is not a picture.
    """
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    return decode_image(picture, where="the given picture")


def draw_boxes(picture: Picture, boxes: Sequence[DrawnBox] = (), side: int = 320) -> Image.Image:
    """The picture with boxes on it, enlarged (or shrunk) until its longer side has ``side`` pixels."""
    array = as_array(picture)
    scale = side / max(array.shape[:2])
    size = tuple(max(1, round(length * scale)) for length in array.shape[1::-1])
    image = Image.fromarray(array).resize(size, Image.Resampling.BICUBIC if scale < 4 else Image.Resampling.NEAREST)
    canvas, line = ImageDraw.Draw(image), max(3, side // 90)
    for box in boxes:
        _draw(canvas, _scaled(box.xyxy_px, scale, size), box, line)
    for box in boxes:  # labels last: no box crosses them out
        _write(canvas, _scaled(box.xyxy_px, scale, size), box, max(10, side // 24))
    return image


def film_strip(frames: Sequence[Picture], side: int = 160, gap: int = 4) -> Image.Image:
    """Frames from left to right, each with its longer side of ``side`` pixels."""
    images = [draw_boxes(frame, side=side) for frame in frames]
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    strip = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width + gap
    return strip


def _scaled(xyxy_px: Sequence[float], scale: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (
        min(max(value * scale, 0.0), limit - 1.0) for value, limit in zip(xyxy_px, (*size, *size), strict=True)
    )
    return x0, y0, max(x0, x1), max(y0, y1)


def _draw(canvas: ImageDraw.ImageDraw, box: tuple[float, float, float, float], how: DrawnBox, line: int) -> None:
    x0, y0, x1, y1 = box
    for start, stop in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        for first, last in _dashes(start, stop, 4 * line) if how.dashed else [(start, stop)]:
            canvas.line([first, last], fill="black", width=line + 2)  # an edge that shows on any ground
            canvas.line([first, last], fill=how.color, width=line)


def _dashes(
    start: tuple[float, float], stop: tuple[float, float], length: int
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Every second piece of a line, the first and the last piece among them."""
    distance = max(abs(stop[0] - start[0]), abs(stop[1] - start[1]))
    pieces = 2 * int(distance // (2 * length)) + 1
    at = [tuple(a + (b - a) * i / pieces for a, b in zip(start, stop, strict=True)) for i in range(pieces + 1)]
    return [(at[i], at[i + 1]) for i in range(0, pieces, 2)]


def _write(canvas: ImageDraw.ImageDraw, box: tuple[float, float, float, float], how: DrawnBox, size: int) -> None:
    if not how.label:
        return
    font = ImageFont.load_default(size)
    left, top, right, bottom = canvas.textbbox((0, 0), how.label, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = min(max(box[0], 0), max(0, canvas.im.size[0] - width))
    y = box[1] - height if box[1] >= height else box[1]
    canvas.rectangle([x, y, x + width, y + height], fill=how.color, outline="black")
    canvas.text((x + 3 - left, y + 3 - top), how.label, fill="black", font=font)
