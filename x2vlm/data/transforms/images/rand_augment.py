"""RandAugment as published: random changes of colour and geometry."""

import random
from collections.abc import Callable, Sequence

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from x2vlm.building import suggestion
from x2vlm.data.record import Record
from x2vlm.data.transforms.images.box_geometry import check_no_boxes
from x2vlm.data.transforms.images.geometry import are_separate_images
from x2vlm.registry import TRANSFORMS

Op = Callable[[np.ndarray, float, int], np.ndarray]

MAX_LEVEL = 10
COLOUR_OPS = ("identity", "autocontrast", "equalize", "brightness", "sharpness")
SHAPE_OPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


@TRANSFORMS.register_module()
class RandAugment(BaseTransform):
    """Apply a few operations to the image, drawn with replacement, each with a probability.

    At level 7: enhancement factor 1.36, shear 0.21, 7 pixels (whatever the size of the image), 21 degrees; the last
    three in either direction. Frames of a clip are changed alike.

    Args:
        num_ops: Operations drawn.
        level: Strength, 0 to 10.
        prob: Probability that a drawn operation is applied.
        ops: ``"all"``, ``"colour"`` (for images with boxes: nothing moves), or the names of operations.
        fill: Grey level of pixels from outside the image.
        per_frame: Draw separately for every frame of a clip, as published.

    Raises:
        ValueError: If an operation has no such name or a number no meaning.
    """

    def __init__(
        self,
        num_ops: int = 2,
        level: float = 7,
        prob: float = 0.5,
        ops: str | Sequence[str] = "all",
        fill: int = 128,
        per_frame: bool = False,
    ) -> None:
        groups = {"all": COLOUR_OPS + SHAPE_OPS, "colour": COLOUR_OPS}
        self.ops = tuple(groups.get(ops, (ops,)) if isinstance(ops, str) else ops)
        for name in self.ops or (ops,):
            if name not in OPS:
                near = suggestion(str(name), [*OPS, *groups])
                raise ValueError(f"ops: there is no '{name}'.{near} Accepted: all, colour, {', '.join(OPS)}.")
        if not 0 <= level <= MAX_LEVEL:
            raise ValueError(f"level is {level}; expected 0 to {MAX_LEVEL}")
        if not 0 <= prob <= 1:
            raise ValueError(f"prob is {prob}; expected a share from 0 to 1")
        self.num_ops, self.level, self.prob, self.fill, self.per_frame = num_ops, level, prob, fill, per_frame

    def transform(self, results: Record) -> Record:
        """Change the frames.

        Raises:
            ValueError: If an operation may move the image, but texts have boxes.
        """
        if any(name in SHAPE_OPS for name in self.ops):
            check_no_boxes(results, "RandAugment with the operations of shape (ops='colour' has none)")
        frames, drawn, changed = results["frames"], self.draw(), []
        for frame in frames:
            changed.append(self.apply(frame, drawn))
            drawn = self.draw() if self.per_frame or are_separate_images(results) else drawn
        return results | {"frames": changed}

    def draw(self) -> list[tuple[str, float]]:
        """The operations to apply, each with its strength, 0 to 1, whose sign is its direction."""
        drawn = random.choices(self.ops, k=self.num_ops)
        strength = self.level / MAX_LEVEL
        return [(name, random.choice((strength, -strength))) for name in drawn if random.random() < self.prob]

    def apply(self, frame: np.ndarray, drawn: Sequence[tuple[str, float]]) -> np.ndarray:
        """The frame after these operations."""
        for name, strength in drawn:
            frame = OPS[name](np.ascontiguousarray(frame), strength, self.fill)
        return frame


def _by_histogram(table_of: Callable[[np.ndarray], np.ndarray]) -> Op:
    """An operation by a look-up table for each channel, computed from its histogram: ``[256]`` counts -> ``[256]``.

    The numbers are those of Pillow; mmcv's functions of this name give them in five times the time.
    """

    def change(frame: np.ndarray, strength: float, fill: int) -> np.ndarray:
        planes = cv2.split(frame)
        counts = [cv2.calcHist([plane], [0], None, [256], [0, 256]).astype(np.int64).ravel() for plane in planes]
        tables = [table_of(each).clip(0, 255).astype(np.uint8) for each in counts]
        return cv2.merge([cv2.LUT(plane, table) for plane, table in zip(planes, tables, strict=True)])

    return change


def _stretched(counts: np.ndarray) -> np.ndarray:
    """The darkest level becomes 0, the brightest 255."""
    levels = np.arange(256)
    low, high = np.flatnonzero(counts)[[0, -1]]
    if low == high:
        return levels
    scale = 255.0 / (high - low)
    return levels * scale - low * scale


def _equalized(counts: np.ndarray) -> np.ndarray:
    """All levels become about equally frequent."""
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return np.arange(256)
    return (step // 2 + counts.cumsum() - counts) // step


def _enhancement(strength: float) -> float:
    return 0.1 + 1.8 * abs(strength)


def _brightness(frame: np.ndarray, strength: float, fill: int) -> np.ndarray:
    return mmcv.adjust_brightness(frame, _enhancement(strength), backend="cv2")


def _sharpness(frame: np.ndarray, strength: float, fill: int) -> np.ndarray:
    sharp = mmcv.adjust_sharpness(frame, _enhancement(strength))
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):  # have no neighbours to differ from: they stay
        sharp[edge] = frame[edge]
    return sharp


def _shear(direction: str) -> Op:
    return lambda frame, strength, fill: mmcv.imshear(frame, 0.3 * strength, direction, border_value=fill)


def _translate(direction: str) -> Op:
    return lambda frame, strength, fill: mmcv.imtranslate(frame, 10 * strength, direction, border_value=fill)


def _rotate(frame: np.ndarray, strength: float, fill: int) -> np.ndarray:
    return mmcv.imrotate(frame, 30 * strength, border_value=fill)


OPS: dict[str, Op] = {
    "identity": lambda frame, strength, fill: frame,
    "autocontrast": _by_histogram(_stretched),
    "equalize": _by_histogram(_equalized),
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": _shear("horizontal"),
    "shear_y": _shear("vertical"),
    "translate_x": _translate("horizontal"),
    "translate_y": _translate("vertical"),
    "rotate": _rotate,
}
"""Every operation: ``(frame, strength, fill) -> frame``, strength -1 to 1."""
