"""Drawing boxes with labels on images."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from x2vlm.data.io.image_decoding import decode_image

ImageSource = str | PathLike | bytes | np.ndarray | Image.Image
Rectangle = tuple[float, float, float, float]

# Distinguishable with most kinds of colour blindness, on light and dark backgrounds (after Okabe and Ito).
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2", "#ffffff")


@dataclass(frozen=True)
class BoxAnnotation:
    """A box to draw.

    Attributes:
        xyxy_px: Corners in pixels of the image; clipped to the image.
        label: Drawn at its upper left corner, or below where another label is; empty for none.
        color: Any colour that Pillow accepts.
        dashed: Dashed lines, as for predictions beside ground truth.
    """

    xyxy_px: Sequence[float]
    label: str = ""
    color: str = COLORS[0]
    dashed: bool = False


def to_rgb_array(source: ImageSource) -> np.ndarray:
    """``[H, W, 3]`` uint8 RGB from a path, the bytes of a file, an array or a Pillow image.

    Raises:
        RecordError: If the file is missing or broken, or the array is not an image.
    """
    if isinstance(source, Image.Image):
        return np.asarray(source.convert("RGB"))
    return decode_image(source, where="the given image")


def draw_boxes(source: ImageSource, boxes: Sequence[BoxAnnotation] = (), side: int = 320) -> Image.Image:
    """The image with boxes drawn on it, resized so that its longer side has ``side`` pixels."""
    array = to_rgb_array(source)
    scale = side / max(array.shape[:2])
    size = tuple(max(1, round(length * scale)) for length in array.shape[1::-1])
    image = Image.fromarray(array).resize(size, Image.Resampling.BICUBIC if scale < 4 else Image.Resampling.NEAREST)
    canvas, line = ImageDraw.Draw(image), max(3, side // 90)
    for box in boxes:
        _draw_edges(canvas, _scaled(box.xyxy_px, scale, size), box, line)
    taken: list[Rectangle] = []
    for box in boxes:  # labels last, on top of all boxes
        _draw_label(canvas, _scaled(box.xyxy_px, scale, size), box, max(10, side // 24), taken)
    return image


def frame_strip(frames: Sequence[ImageSource], side: int = 160, gap: int = 4) -> Image.Image:
    """Frames side by side, each resized so that its longer side has ``side`` pixels, ``gap`` pixels apart."""
    images = [draw_boxes(frame, side=side) for frame in frames]
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    strip = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width + gap
    return strip


def _scaled(xyxy_px: Sequence[float], scale: float, size: tuple[int, int]) -> Rectangle:
    x0, y0, x1, y1 = (
        min(max(value * scale, 0.0), limit - 1.0) for value, limit in zip(xyxy_px, (*size, *size), strict=True)
    )
    return x0, y0, max(x0, x1), max(y0, y1)


def _draw_edges(canvas: ImageDraw.ImageDraw, box: Rectangle, style: BoxAnnotation, line: int) -> None:
    x0, y0, x1, y1 = box
    for start, stop in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        for first, last in _dashes(start, stop, 4 * line) if style.dashed else [(start, stop)]:
            canvas.line([first, last], fill="black", width=line + 2)  # an outline visible on any background
            canvas.line([first, last], fill=style.color, width=line)


def _dashes(
    start: tuple[float, float], stop: tuple[float, float], length: int
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Every second segment of a line, including the first and the last."""
    distance = max(abs(stop[0] - start[0]), abs(stop[1] - start[1]))
    segments = 2 * int(distance // (2 * length)) + 1
    points = [tuple(a + (b - a) * i / segments for a, b in zip(start, stop, strict=True)) for i in range(segments + 1)]
    return [(points[i], points[i + 1]) for i in range(0, segments, 2)]


def _draw_label(
    canvas: ImageDraw.ImageDraw, box: Rectangle, style: BoxAnnotation, size: int, taken: list[Rectangle]
) -> None:
    """Draw the label where no other is, and add its place to those that are ``taken``."""
    if not style.label:
        return
    font = ImageFont.load_default(size)
    left, top, right, bottom = canvas.textbbox((0, 0), style.label, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = min(max(box[0], 0), max(0, canvas.im.size[0] - width))
    y = box[1] - height if box[1] >= height else box[1]
    rows = [y, *(box[1] + row * (height + 1) for row in range(int((canvas.im.size[1] - box[1]) // (height + 1))))]
    free = [row for row in rows if not any(_overlap((x, row, x + width, row + height), other) for other in taken)]
    place = (x, free[0] if free else y, x + width, (free[0] if free else y) + height)
    taken.append(place)
    canvas.rectangle(place, fill=style.color, outline="black")
    canvas.text((x + 3 - left, place[1] + 3 - top), style.label, fill="black", font=font)


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
