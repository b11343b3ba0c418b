"""Phrase grounding: is the predicted box where the phrase's thing is?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects
from x2vlm.evaluation.metrics.recall import accuracy_at, average_precision, box_ious, mean_iou
from x2vlm.evaluation.record_fields import extras_of_contexts
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.outputs import EncodedBatch
from x2vlm.registry import METRICS

CONVENTIONS = ("continuous", "inclusive")


@METRICS.register_module()
class GroundingMetric:
    """Share of phrases whose predicted box overlaps the true one enough, and the mean overlap, in percent.

    Every pair with a box of its own counts once; captions of whole images do not count. Beside the model stands a
    guesser that answers every phrase with one box, the mean of the true ones: what can be had without looking.

    Args:
        threshold: IoU from which a box is right.
        convention: ``"continuous"``, or ``"inclusive"`` for the published count of pixels (see
            :func:`~x2vlm.evaluation.metrics.recall.box_ious`), which needs the image sizes ``extras["image_size"]``.
        average_box_cxcywh: The guesser's box, normalised, for instance the mean of the training set; by default it is
            computed from the boxes that are evaluated, which only helps the guesser.
    """

    def __init__(
        self,
        threshold: float = 0.5,
        convention: str = "continuous",
        average_box_cxcywh: Sequence[float] | None = None,
    ) -> None:
        if convention not in CONVENTIONS:
            raise ValueError(f"convention is {convention!r}. Accepted: {', '.join(CONVENTIONS)}.")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; an overlap lies in 0..1.")
        self.threshold, self.convention = threshold, convention
        self.average_box = None if average_box_cxcywh is None else torch.tensor(tuple(average_box_cxcywh)).float()
        if self.average_box is not None and self.average_box.shape != (4,):
            raise ValueError(f"average_box_cxcywh is {average_box_cxcywh}; expected four numbers.")

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Ground every phrase that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``accuracy_at_0.5`` (named after the threshold), ``mean_iou``; ``average_box_accuracy`` and
            ``average_box_mean_iou``, those of the guesser; where records tell ``extras["kinds"]``, the accuracy and the
            guesser's again for each kind, e.g. ``accuracy_at_0.5_object``; where the model has objective ``itm``, how
            well its probability of matching tells right boxes from wrong ones: see :func:`confidence_summary`.

        Raises:
            ValueError: If the model predicts no boxes, there is no phrase with a box, or sizes are needed and missing.
        """
        if "bbox" not in model.objectives:
            raise ValueError(
                "GroundingMetric needs objective 'bbox', but this model's objectives are: "
                f"{', '.join(model.objectives) or 'none'}. Add it, or leave this evaluation out."
            )
        with eval_mode(model):
            found = [self._ground(model, batch.to(model.device)) for batch in loader if len(batch)]
        everywhere = [one for process in all_gather_objects(found) for one in process]
        if not any(len(one.true) for one in everywhere):
            raise ValueError("there is nothing to ground: no text of this evaluation has a box of its own.")
        predicted, true, sizes, confidence = (
            torch.cat([getattr(one, name) for one in everywhere])
            for name in ("predicted", "true", "sizes", "confidence")
        )
        guess = (true.mean(dim=0) if self.average_box is None else cxcywh_to_xyxy(self.average_box)).expand_as(true)
        overlaps = {
            "": box_ious(predicted, true, self.convention, sizes),
            "average_box_": box_ious(guess, true, self.convention, sizes),
        }
        results = self._summary(overlaps, [kind for one in everywhere for kind in one.kinds])
        if "itm" in model.objectives:
            results |= confidence_summary(confidence, overlaps[""] >= self.threshold)
        self._log(results, len(true))
        return results

    def _ground(self, model: Any, batch: Batch) -> "_Grounded":
        if batch.has_box is None or batch.boxes_xyxy is None:
            raise ValueError("grounding needs records with boxes, but these have none (plain text?).")
        boxed = batch.has_box.cpu()
        if not boxed.any():
            return _Grounded(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 2), torch.zeros(0), [])
        encoded = model.encode(batch)
        objective = model.objectives["bbox"]
        (phrases,) = model.read(objective.requests(encoded))
        predicted = cxcywh_to_xyxy(objective.box(phrases.states).float()).cpu()
        confidence = match_confidence(model, encoded).cpu() if "itm" in model.objectives else torch.zeros(len(boxed))
        kinds = [
            kind for kind, has_box in zip(extras_of_contexts(batch, "kinds"), boxed.tolist(), strict=True) if has_box
        ]
        true = batch.boxes_xyxy.float().cpu()
        return _Grounded(predicted[boxed], true[boxed], self._sizes(batch)[boxed], confidence[boxed], kinds)

    def _sizes(self, batch: Batch) -> Tensor:
        if self.convention != "inclusive":
            return torch.ones(len(batch), 2)
        missing = [extras for extras in batch.extras if "image_size" not in extras]
        if missing or not batch.extras:
            raise ValueError(
                "convention 'inclusive' counts pixels of the original image, but a record has no extras['image_size'] "
                "(height, width). LoadImage writes it; add it, or use convention='continuous'."
            )
        return torch.tensor([batch.extras[owner]["image_size"] for owner in batch.owner.tolist()]).float()

    def _summary(self, overlaps: dict[str, Tensor], kinds: list[str | None]) -> dict[str, float]:
        accuracy = {"": f"accuracy_at_{self.threshold:g}", "average_box_": "average_box_accuracy"}
        results = {}
        for who, ious in overlaps.items():
            results[accuracy[who]] = 100 * accuracy_at(ious, self.threshold)
            results[f"{who}mean_iou"] = 100 * mean_iou(ious)
        for kind in sorted({kind for kind in kinds if kind is not None}):
            of_kind = torch.tensor([one == kind for one in kinds])
            for who, ious in overlaps.items():
                results[f"{accuracy[who]}_{kind}"] = 100 * accuracy_at(ious[of_kind], self.threshold)
        return results

    def _log(self, results: dict[str, float], phrases: int) -> None:
        print_log(
            f"grounding of {phrases} phrases: one predicted box each, right if its IoU with the true box "
            f"({self.convention}) is at least {self.threshold:g}. Answering always with the average box would be right "
            f"for {results['average_box_accuracy']:.2f} %.",
            logger="current",
        )


@dataclass(frozen=True)
class _Grounded:
    """Of the ``P`` pairs that have a box: predicted and true boxes, sizes of images, confidences, kinds."""

    predicted: Tensor
    true: Tensor
    sizes: Tensor
    confidence: Tensor
    kinds: list[str | None]


def match_confidence(model: Any, encoded: EncodedBatch) -> Tensor:
    """How sure the model is that the phrase is of something in the image, and so of its box.

    The probability of objective ``itm`` that text and whole image match: a region would give the answer away.

    Returns:
        ``[B]`` in 0..1.
    """
    states = model.fuse(encoded.full_context, encoded.text, at=0)
    return model.objectives["itm"].score(states).float().softmax(dim=-1)[:, 1]


def confidence_summary(confidence: Tensor, right: Tensor) -> dict[str, float]:
    """Whether confidence tells right boxes from wrong ones.

    Args:
        confidence: ``[P]`` in 0..1.
        right: ``[P]`` bool.

    Returns:
        Percentages: ``confidence_right`` and ``confidence_wrong``, the mean confidence of each; ``confidence_ap``, the
        average precision of the boxes ranked by confidence, which for a confidence that tells nothing is the accuracy.
        What has nothing to average is left out.
    """
    means = {"confidence_right": confidence[right], "confidence_wrong": confidence[~right]}
    results = {name: 100 * some.double().mean().item() for name, some in means.items() if len(some)}
    return results | ({"confidence_ap": 100 * average_precision(confidence, right)} if right.any() else {})
