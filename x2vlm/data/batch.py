"""``Sample`` (a record after its transforms) and ``Batch`` (the input of a training or evaluation step).

Shape letters: B texts, U distinct contexts, F frames, N patches, L tokens, M masked tokens, R texts of one record,
A answers, C classes, K contexts that one text attends to.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


@dataclass
class Sample:
    """One record after its transforms: one context and the ``R`` texts that are paired with it.

    Attributes:
        where: The location of the record (``file:line``), for messages.
        texts: ``R`` cleaned texts; none where there are only images. A pair of sentences (GLUE) is a tuple.
        pixels: ``[3, H, W]`` image or ``[F, 3, H, W]`` clip, float, normalised; None for text-only and parallel text.
            ``[K, 3, H, W]`` where every text attends to ``num_contexts`` images.
        num_contexts: How many images a text attends to (two in NLVR2).
        boxes_xyxy: ``[R, 4]``, normalised 0..1 of the transformed image; ``(0, 0, 1, 1)`` where a text is about all of
            it.
        has_box: ``[R]`` bool, True where the text has a box (False for whole images, videos and texts).
        ids: ``R`` identities: two pairs with the same identity are positives of each other (two captions of one image).
        context_text: The same sentence in another language, for parallel text; None otherwise.
        labels: The class of each text (of the image, where there is no text); empty where nothing is classified.
            A number, or a dict from class to weight where several are right.
        answers: For each text its answers, each with a weight; empty where nothing is answered.
        masked_patches: ``[N]`` bool, patches that are masked for the student of masked image modelling.
        extras: Further fields for metrics and tasks (labels, languages, frame sizes); passed on unchanged.
    """

    where: str
    texts: list[str | tuple[str, str]]
    pixels: Tensor | None = None
    boxes_xyxy: Tensor | None = None
    has_box: Tensor | None = None
    ids: list[str] = field(default_factory=list)
    context_text: str | None = None
    num_contexts: int = 1
    labels: list[int | float | dict[int, float]] = field(default_factory=list)
    answers: list[list[tuple[str, float]]] = field(default_factory=list)
    masked_patches: Tensor | None = None
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be used: its location and the reason."""

    where: str
    reason: str


class HostBatch(NamedTuple):
    """Fields of a :class:`Batch` as arrays in main memory, for planning shapes, lengths and index tables.

    Planning from them needs no synchronisation with the device.
    """

    text_mask: np.ndarray | None = None
    owner: np.ndarray | None = None
    text_owner: np.ndarray | None = None
    boxes_xyxy: np.ndarray | None = None
    patch_mask: np.ndarray | None = None
    mlm_positions: np.ndarray | None = None
    mlm_labels: np.ndarray | None = None
    context_text_mask: np.ndarray | None = None
    answer_mask: np.ndarray | None = None


@dataclass
class Batch:
    """``B`` texts, each with its context, over ``U`` distinct contexts: ``B`` pairs.

    A text that attends to ``K`` contexts (two images of NLVR2) makes ``K`` pairs in a row: then ``text_owner`` is the
    text of each of the ``B * K`` pairs, and ``owner`` has as many entries.

    Attributes:
        text_ids: ``[B, L]`` long, padded to the longest text of the batch; None where there are only images.
        text_mask: ``[B, L]`` bool, True at real tokens.
        pixels: ``[U, 3, H, W]`` images or ``[U, F, 3, H, W]`` clips; None for text-only and parallel text.
        owner: ``[B]`` long, which of the ``U`` contexts each pair attends to; None without context.
        text_owner: ``[B * K]`` long, the text of each pair; None where pair ``b`` has text ``b``.
        boxes_xyxy: ``[B, 4]`` normalised boxes, ``(0, 0, 1, 1)`` for whole images and videos; None without pixels.
        has_box: ``[B]`` bool, True where a box is to be predicted; None without pixels.
        patch_mask: ``[B, N]`` bool, patches each pair may attend to. None: from ``boxes_xyxy`` and the patch grid.
        ids: ``[B]`` long; pairs with equal numbers are positives of each other. All distinct where records have no
            identity.
        masked_ids: ``[B, L]`` long, ``text_ids`` after masking; None without masking. In parallel text ``[B, L']``,
            after masking, the sentences that are the context (``context_ids`` of ``owner``). In captioning
            ``[B, L']``, where masked tokens may be duplicated, see ``CaptionCollate``.
        masked_mask: ``[B, L', L']`` bool, the tokens to which each token (row) of ``masked_ids`` may attend, if not
            those of ``text_mask``; None otherwise.
        masked_text_positions: ``[B, L']`` long, the position of each token of ``masked_ids``, from 0, if they
            are not consecutive; None otherwise.
        mlm_positions: ``[B, M]`` long, positions to predict, padded with 0.
        mlm_labels: ``[B, M]`` long, true ids at these positions, padded with -100.
        context_ids: ``[U, L']`` long, the sentences that are the context in parallel text.
        context_text_mask: ``[U, L']`` bool.
        labels: ``[B]`` long, the class of each text (float: a number to predict); -100 where there is none.
        label_weights: ``[B, C]``, instead of ``labels``, where several classes are right with a weight each.
        answer_ids: ``[A, L']`` long, answers to all texts, [CLS] and [SEP] included.
        answer_mask: ``[A, L']`` bool.
        answer_owner: ``[A]`` long, which text an answer belongs to.
        answer_weights: ``[A]`` float.
        masked_patches: ``[U, N]`` bool, patches that are masked for the student of masked image modelling.
        where: ``B`` locations of the records, for messages.
        texts: ``B`` texts, for metrics and images.
        extras: Per-record extras, one dict per sample, in order of the contexts.
        bad: Records that were skipped while this batch was made.
        drawn: Records read to make this batch, bad ones included.
        host: Copies in main memory, for planning, of a batch that :meth:`to` has moved to a device. Code that changes a
            moved batch has to change them too, or set them to None.
    """

    text_ids: Tensor | None
    text_mask: Tensor | None
    pixels: Tensor | None = None
    owner: Tensor | None = None
    text_owner: Tensor | None = None
    boxes_xyxy: Tensor | None = None
    has_box: Tensor | None = None
    patch_mask: Tensor | None = None
    ids: Tensor | None = None
    masked_ids: Tensor | None = None
    masked_mask: Tensor | None = None
    masked_text_positions: Tensor | None = None
    mlm_positions: Tensor | None = None
    mlm_labels: Tensor | None = None
    context_ids: Tensor | None = None
    context_text_mask: Tensor | None = None
    labels: Tensor | None = None
    label_weights: Tensor | None = None
    answer_ids: Tensor | None = None
    answer_mask: Tensor | None = None
    answer_owner: Tensor | None = None
    answer_weights: Tensor | None = None
    masked_patches: Tensor | None = None
    where: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    extras: list[dict[str, Any]] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    drawn: int = 0
    host: "HostBatch | None" = None

    def __len__(self) -> int:
        return len(self.owner if self.text_ids is None else self.text_ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch with every tensor on ``device``; the fields for planning stay in main memory as ``host``."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        on_device = any(tensor.device.type != "cpu" for tensor in moved._tensors().values())
        return replace(moved, host=self.on_host() if on_device else None)

    def on_host(self) -> "HostBatch":
        """The fields for planning, as arrays in main memory; waits for the device only where ``host`` is None."""
        if self.host is not None:
            return self.host
        values = {name: getattr(self, name) for name in HostBatch._fields}
        return HostBatch(**{name: None if value is None else value.cpu().numpy() for name, value in values.items()})

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; called by torch's DataLoader."""
        return self._map(Tensor.pin_memory)

    def _map(self, fn: Any) -> "Batch":
        return replace(self, **{name: fn(tensor) for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
