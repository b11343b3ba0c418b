"""Weakly supervised grounding: the box proposal in which Grad-CAM of the matching score is strongest.

Shape letters: P phrases, T phrases of one image, L tokens, N patches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_lists
from x2vlm.evaluation.grad_cam import fusion_layer, match_logit, token_maps
from x2vlm.evaluation.metrics.box_overlap import CONVENTIONS, box_ious
from x2vlm.evaluation.metrics.percentages import percent, percent_by_group
from x2vlm.evaluation.metrics.proposal_scores import proposal_scores
from x2vlm.evaluation.proposals import read_proposals
from x2vlm.evaluation.record_fields import extras_by_text
from x2vlm.evaluation.saved_predictions import Line, lines_of_texts, output_path, rounded, save_lines
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.outputs import EncodedBatch
from x2vlm.registry import METRICS


@METRICS.register_module()
class GradCamGroundingMetric:
    """Share of phrases whose best proposal has an IoU of at least ``threshold``, without box prediction.

    Weakly supervised grounding as X-VLM's release computes it, after ALBEF (arXiv:2107.07651): fine-tuning pairs
    phrases with whole images, and sees no box. For each phrase the cross-attention of one fusion layer is weighted with
    the gradient of the matching logit, averaged over heads and the phrase's tokens, and summed inside each proposal.
    ``CrossAttentionFusion`` and objective ``itm`` are needed.

    Args:
        layer: Layer of the fusion encoder, from 0; by default the middle one (published: 3 of 0 to 5).
        proposals: File with box proposals: a JSON object from image to ``[x, y, width, height]`` boxes in pixels (as
            the release takes MAttNet's detections of RefCOCO+), or a COCO list of results. By default the boxes of the
            phrases of an image are its proposals.
        image_key: Key of ``extras`` that names the image in the proposals.
        threshold: IoU from which a box is correct.
        convention: As for :class:`~x2vlm.evaluation.tasks.grounding.GroundingMetric`.
        area_power: Sums inside a proposal are divided by its area to this power.
        special_tokens: Whether [CLS] and [SEP] count among the phrase's tokens, as published.
        save_to: File for the predictions, as for ``GroundingMetric``.
        save_extras: Keys of ``extras`` that are written too.
        work_dir: The run's work folder.

    Raises:
        ValueError: If an option is invalid.
        FileNotFoundError: If there is no such file of proposals.
    """

    paths = ("proposals",)

    def __init__(
        self,
        layer: int | None = None,
        proposals: str | PathLike | None = None,
        image_key: str = "image_id",
        threshold: float = 0.5,
        convention: str = "continuous",
        area_power: float = 0.5,
        special_tokens: bool = True,
        save_to: str | PathLike | None = None,
        save_extras: Sequence[str] = (),
        work_dir: str | PathLike | None = None,
    ) -> None:
        if convention not in CONVENTIONS:
            raise ValueError(f"convention is {convention!r}. Accepted: {', '.join(CONVENTIONS)}.")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; an IoU is in 0..1.")
        self.layer, self.image_key, self.threshold, self.convention = layer, image_key, threshold, convention
        self.area_power, self.special_tokens = area_power, special_tokens
        self.proposals = None if proposals is None else read_proposals(proposals)
        self.save_to, self.save_extras = output_path(save_to, work_dir), tuple(save_extras)

    def called_methods(self, objectives: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What an evaluation calls of the model's objectives, by their names."""
        return {"itm": ("score",)}

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Ground every phrase with a box that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``accuracy_at_0.5`` (named after the threshold) and ``mean_iou`` of the chosen proposals;
            ``chance_accuracy`` of a random one, ``largest_accuracy`` of always the largest, ``oracle_accuracy`` of the
            one that overlaps most; with ``extras["kinds"]``, the accuracy and that of chance for each kind.

        Raises:
            ValueError: If the model has no such layer or objective, there is no phrase with a box, or a record lacks
                its image's name or size.
        """
        layer = fusion_layer(model, self.layer, "GradCamGroundingMetric")
        local: list[_Phrase] = []
        lines: list[Line] = []
        with eval_mode(model):
            for batch in loader:
                if len(batch):
                    phrases = self._ground(model, batch.to(model.device), layer)
                    local += [phrase for phrase in phrases if phrase is not None]
                    lines += [] if self.save_to is None else self._lines(batch, phrases)
        if self.save_to is not None:
            save_lines(self.save_to, lines)
        phrases = all_gather_lists(local)
        if not phrases:
            raise ValueError("there is nothing to ground: no text of this evaluation has a box of its own.")
        results = self._summary(phrases)
        self._log(results, phrases, layer)
        return results

    def _ground(self, model: Any, batch: Batch, layer: int) -> "list[_Phrase | None]":
        """The phrases of a batch; None for texts without a box."""
        if batch.has_box is None or batch.boxes_xyxy is None:
            raise ValueError("grounding needs records with boxes, but these have none (plain text?).")
        phrases: list[_Phrase | None] = [None] * len(batch)
        has_box, true, owner = batch.has_box.cpu(), batch.boxes_xyxy.float().cpu(), batch.owner.cpu()
        if not has_box.any():
            return phrases
        encoded, kinds = model.encode(batch), extras_by_text(batch, "kinds")
        for image in owner[has_box].unique().tolist():
            rows = torch.nonzero(has_box & (owner == image))[:, 0]
            size = self._size(batch, image)
            proposals = self._proposals(batch, image, size, true[rows])
            maps = self._maps(model, encoded, rows, layer)
            for row, scores in zip(rows.tolist(), proposal_scores(maps, proposals, size, self.area_power), strict=True):
                phrases[row] = self._phrase(scores, proposals, true[row], size, kinds[row])
        return phrases

    def _maps(self, model: Any, encoded: EncodedBatch, rows: Tensor, layer: int) -> Tensor:
        """``[T, rows, columns]``: Grad-CAM of the phrases at ``rows``, all of one image, averaged over their tokens."""
        context, rows = encoded.full_context, rows.to(encoded.text.mask.device)
        first = rows[0]
        image_states = torch.cat([context.summary[first][None], context.tokens[context.owner[first]]])
        text = encoded.text.select(rows)
        heat, _ = token_maps(model, image_states, text, layer, score=match_logit)
        counted = text.mask if self.special_tokens else without_special_tokens(text.mask)
        mean = (heat * counted[..., None]).sum(dim=1) / counted.sum(dim=1, keepdim=True)  # [T, N]
        return mean.unflatten(1, tuple(model.vision_encoder.grid)).cpu()

    def _size(self, batch: Batch, image: int) -> tuple[int, int]:
        size = batch.extras[image].get("image_size") if batch.extras else None
        if size is None:
            raise ValueError(
                "maps are summed over the pixels of the original image, but a record has no extras['image_size'] "
                "(height, width), which LoadImage writes."
            )
        return int(size[0]), int(size[1])

    def _proposals(self, batch: Batch, image: int, size: tuple[int, int], true: Tensor) -> Tensor:
        """``[proposals, 4]``, 0..1 of the image."""
        if self.proposals is None:
            return true.unique(dim=0)
        name = batch.extras[image].get(self.image_key)
        if name is None:
            raise ValueError(
                f"proposals are found by extras[{self.image_key!r}], but a record has none. Let the data set pass it "
                f"on (keys=dict(extras=({self.image_key!r},)))."
            )
        boxes = self.proposals.get(str(name), torch.zeros(0, 4))
        return (boxes / torch.tensor([size[1], size[0]] * 2)).clamp(0, 1)

    def _phrase(
        self, scores: Tensor, proposals: Tensor, true: Tensor, size: tuple[int, int], kind: str | None
    ) -> "_Phrase":
        if not len(proposals):
            return _Phrase(None, true.tolist(), 0.0, 0.0, 0.0, 0.0, kind)
        sizes = torch.tensor([size]).float().expand(len(proposals), 2)
        ious = box_ious(proposals, true.expand_as(proposals), self.convention, sizes)
        areas, best = (proposals[:, 2:] - proposals[:, :2]).prod(dim=1), int(scores.argmax())
        right = ious >= self.threshold
        return _Phrase(
            box_xyxy=proposals[best].tolist(),
            true_box_xyxy=true.tolist(),
            iou=float(ious[best]),
            chance=float(right.float().mean()),
            largest=float(right[areas.argmax()]),
            oracle=float(right.any()),
            kind=kind,
        )

    def _lines(self, batch: Batch, phrases: "Sequence[_Phrase | None]") -> list[Line]:
        columns: dict[str, list[Any]] = {"box_xyxy": [], "true_box_xyxy": [], "iou": [], "kind": []}
        for phrase in phrases:
            for key, values in columns.items():
                value = None if phrase is None else getattr(phrase, key)
                values.append(rounded(value) if isinstance(value, list) else value)
        if all(kind is None for kind in columns["kind"]):
            columns.pop("kind")
        return lines_of_texts(batch, columns, self.save_extras, keep=[phrase is not None for phrase in phrases])

    def _summary(self, phrases: "Sequence[_Phrase]") -> dict[str, float]:
        name, kinds = f"accuracy_at_{self.threshold:g}", [phrase.kind for phrase in phrases]
        correct, chance = [phrase.iou >= self.threshold for phrase in phrases], [phrase.chance for phrase in phrases]
        results = {
            name: percent(correct),
            "mean_iou": percent([phrase.iou for phrase in phrases]),
            "chance_accuracy": percent(chance),
            "largest_accuracy": percent([phrase.largest for phrase in phrases]),
            "oracle_accuracy": percent([phrase.oracle for phrase in phrases]),
        }
        results |= {f"{name}_{kind}": value for kind, value in percent_by_group(correct, kinds).items()}
        return results | {f"chance_accuracy_{kind}": value for kind, value in percent_by_group(chance, kinds).items()}

    def _log(self, results: dict[str, float], phrases: "Sequence[_Phrase]", layer: int) -> None:
        without = sum(phrase.box_xyxy is None for phrase in phrases)
        print_log(
            f"weakly supervised grounding of {len(phrases)} phrases: the proposal in which Grad-CAM of fusion layer "
            f"{layer} is strongest, correct if its IoU with the true box ({self.convention}) is at least "
            f"{self.threshold:g}. {without} phrases have no proposal and count as wrong. A random proposal would be "
            f"correct for {results['chance_accuracy']:.2f} %, the largest for {results['largest_accuracy']:.2f} %, the "
            f"best for {results['oracle_accuracy']:.2f} %.",
            logger="current",
        )


def without_special_tokens(mask: Tensor) -> Tensor:
    """``[T, L]`` bool: the real tokens but the first and the last one; all where there are no others."""
    length = mask.sum(dim=1, keepdim=True)
    inner = mask.scatter(1, length - 1, False)
    inner[:, 0] = False
    return torch.where(length < 3, mask, inner)


@dataclass(frozen=True)
class _Phrase:
    """A phrase with its chosen proposal (None where there is none), the true box, and how good any choice could be."""

    box_xyxy: list[float] | None
    true_box_xyxy: list[float]
    iou: float
    chance: float
    largest: float
    oracle: float
    kind: str | None
