"""Transforms of NLVR v1's images: several statements of one image, and the strips between its boxes made narrow."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from plugins.nlvr_shapes.scenes import HEIGHT, SIDE, STEP, WIDTH
from x2vlm.data.record import Record, RecordError
from x2vlm.data.transforms.texts.text_transforms import pairs_with_whole
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PickStatements(BaseTransform):
    """Pair the image with all its ``statements``; their truth becomes the label of each, 1 or 0."""

    def transform(self, results: Record) -> Record:
        """Add the pairs and ``labels``.

        Raises:
            RecordError: If there is no statement.
        """
        if not results.get("statements"):
            raise RecordError(results["where"], "there are no statements")
        texts, truths = zip(*results["statements"], strict=True)
        return pairs_with_whole(results, texts) | {"labels": [int(truth) for truth in truths]}


@TRANSFORMS.register_module()
class NarrowStrips(BaseTransform):
    """Make the two grey strips between the three boxes narrower, and move the boxes of ``elems`` along.

    Goes after ``LoadImage`` and before the transform that chooses the texts.

    With strips of 20 pixels an image of 400 x 100 becomes one of 340 x 100, and every box of shapes begins at a
    multiple of 20 pixels: cells of 20 x 20 pixels never lie in two of them.

    Args:
        width: Pixels that are left of a strip, from 1 to 50.
    """

    moves_pixels = True

    def __init__(self, width: int = 20) -> None:
        if not 1 <= width <= STEP - SIDE:
            raise ValueError(f"NarrowStrips: width is {width}; expected 1 to {STEP - SIDE} pixels")
        self.width = width
        self.kept = np.concatenate([np.arange(STEP * slot, STEP * slot + SIDE + width) for slot in range(3)])
        self.kept = self.kept[self.kept < WIDTH]

    def transform(self, results: Record) -> Record:
        """Cut the frames, and move the elements.

        Raises:
            RecordError: If the image is not 400 x 100.
        """
        sizes = {frame.shape[:2] for frame in results["frames"]}
        if sizes != {(HEIGHT, WIDTH)}:
            raise RecordError(results["where"], f"expected an image of {WIDTH} x {HEIGHT} pixels, got {sizes}")
        frames = [np.ascontiguousarray(frame[:, self.kept]) for frame in results["frames"]]
        return results | {"frames": frames, "elems": [self._moved(elem) for elem in results.get("elems") or []]}

    def _moved(self, elem: dict[str, Any]) -> dict[str, Any]:
        x, *rest = elem["bb"]
        return elem | {"bb": (x - x // STEP * (STEP - SIDE - self.width), *rest)}
