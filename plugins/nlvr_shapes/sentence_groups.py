"""NLVR v1 split by sentence: examples that share their sentence stay together."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from x2vlm.data.datasets.public_questions.nlvr_v1 import NlvrV1
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class NlvrGroups(NlvrV1):
    """A part of NLVR v1 whose sentences are in no other part.

    Examples whose identifier begins alike ("12-0", "12-3") share their sentence. Group n belongs to fold
    ``n % num_folds``.

    Args:
        ann_file: JSON lines, as for :class:`~x2vlm.data.datasets.public_questions.nlvr_v1.NlvrV1`.
        images: The tar file of the images, or the folder they were unpacked to.
        folds: The folds to take.
        num_folds: How many there are.
        options: Further arguments of ``NlvrV1``.

    Raises:
        ValueError: If a fold is not from 0 to below ``num_folds``, or none is given.
    """

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        images: str | PathLike,
        folds: Sequence[int],
        num_folds: int = 5,
        **options: Any,
    ) -> None:
        super().__init__(ann_file, images, **options)
        if not folds or any(fold not in range(num_folds) for fold in folds):
            raise ValueError(f"NlvrGroups: folds is {list(folds)}; expected numbers from 0 to {num_folds - 1}")
        lines = self.line_and_position[:, 0].tolist()
        group = {line: int(str(self.lines.json(line)["identifier"]).split("-")[0]) for line in set(lines)}
        self.line_and_position = self.line_and_position[
            np.array([group[line] % num_folds in folds for line in lines], dtype=bool)
        ]
