"""Classification of texts, images, clips, or texts with one or several images.

Shape letters: B texts (or images), K contexts that one text reads together, C classes, A answers, D width.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from x2vlm.building import suggestion
from x2vlm.constants import IGNORE_INDEX
from x2vlm.models.fusion.requests import FusedStates, FusionRequest
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.base import Objective
from x2vlm.objectives.heads import two_layer_head
from x2vlm.registry import OBJECTIVES

READS = {
    "fused": Needs(text=True, optional_context=True),
    "text": Needs(text=True),
    "context": Needs(context=True),
}
HEADS = ("two_layer", "linear")


@OBJECTIVES.register_module()
class Classification(Objective):
    """Classify the summary of the fused text, of the text alone, or of the context alone.

    One head serves NLVR2 and MaRVL (two images a text), visual entailment, question answering over images and
    clips with a fixed list of answers (all ``reads="fused"``), sentences (``"text"``: GLUE with X-FM's language
    encoder), and images (``"context"``: ImageNet with X-FM's vision encoder, by the mean of its patches).

    Several contexts of a text are fused with it one by one, and the results are concatenated in their order
    (arXiv:2211.12402v1, Appendix A.1, "Natural Language for Visual Reasoning").

    Labels are numbers of classes (cross entropy, mean over those that are not -100), or weights of several right
    classes (``Batch.label_weights``: weighted cross entropies, summed and divided by the number of texts). A single
    output is regressed (mean squared error).

    Args:
        num_classes: Number of classes; 1 to regress a number.
        width: Width of the fusion encoder.
        text_width: Width of the text encoder; needed by ``reads="text"``.
        context_width: Width of the context's tokens; needed by ``reads="context"``.
        reads: ``fused``, ``text`` or ``context``.
        contexts: Contexts that one text reads together: 2 in NLVR2.
        head: ``two_layer`` (the published head, as wide as twice its input) or ``linear`` (for linear probes).
        smoothing: Share of a label that is spread evenly over all classes (arXiv:1512.00567v3, Sec. 7).
        weight: Factor of the objective's losses.
    """

    def __init__(
        self,
        num_classes: int,
        width: int | None = None,
        text_width: int | None = None,
        context_width: int | None = None,
        reads: str = "fused",
        contexts: int = 1,
        head: str = "two_layer",
        smoothing: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value, accepted in (("reads", reads, READS), ("head", head, HEADS)):
            if value not in accepted:
                raise ValueError(f"{name} is {value!r}.{suggestion(value, accepted)} Accepted: {', '.join(accepted)}.")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing}; expected a share from 0 to below 1.")
        if min(num_classes, contexts) < 1:
            raise ValueError(f"num_classes and contexts are counts from 1; given {num_classes} and {contexts}.")
        if reads == "text" and contexts > 1:
            raise ValueError(f"reads='text' reads no context, so contexts={contexts} means nothing. Leave it out.")
        widths = {"fused": width, "text": text_width, "context": context_width}
        if widths[reads] is None:
            raise ValueError(f"reads={reads!r} needs the width of what it reads, but the model has no such encoder.")
        inputs = contexts * widths[reads]
        self.head = two_layer_head(inputs, num_classes) if head == "two_layer" else nn.Linear(inputs, num_classes)
        self.needs = READS[reads]
        self.num_classes, self.reads, self.contexts, self.weight = num_classes, reads, contexts, weight
        self.smoothing = smoothing

    def requests(self, encoded: EncodedBatch) -> list[FusionRequest]:
        """Texts with their contexts, for ``reads="fused"``."""
        if self.reads != "fused":
            return []
        texts = encoded.batch.on_host().text_owner
        return [FusionRequest(encoded.text, encoded.context, texts=texts, at=0)]

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        batch = encoded.batch
        return {"loss_classification": self.loss(self.logits(encoded, fused), batch.labels, batch.label_weights)}

    def logits(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> Tensor:
        """``[B, C]`` scores of the classes; ``[B, 1]`` predicted numbers in regression."""
        return self.head(self.summary(encoded, fused))

    def summary(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> Tensor:
        """``[B, K * D]``, the input of the head."""
        if self.reads == "text":
            return encoded.text.summary
        pairs = encoded.context.summary if self.reads == "context" else fused[0].states
        count = len(pairs) // self.contexts if encoded.text is None else len(encoded.text)
        if len(pairs) != count * self.contexts:
            raise ValueError(
                f"this batch has {len(pairs)} pairs of a text and a context for {count} texts, but contexts="
                f"{self.contexts}. Set contexts of the objective to the number of images a record shows together."
            )
        return pairs.reshape(count, self.contexts * pairs.shape[-1])

    def loss(self, logits: Tensor, labels: Tensor | None = None, label_weights: Tensor | None = None) -> Tensor:
        """The loss of logits.

        Args:
            logits: ``[B, C]``.
            labels: ``[B]`` long, -100 where there is none; float to regress a number.
            label_weights: ``[B, C]``, instead of ``labels``.

        Raises:
            ValueError: If there are neither labels nor weights, or they do not fit the number of classes.
        """
        if label_weights is not None:
            if label_weights.shape != logits.shape:
                raise ValueError(
                    f"label weights are {tuple(label_weights.shape)} but the scores {tuple(logits.shape)}: the data "
                    f"and Classification(num_classes={self.num_classes}) must count the same classes."
                )
            return weighted_cross_entropy(logits, label_weights)
        if labels is None:
            raise ValueError("objective 'classification' needs Batch.labels or Batch.label_weights, but has neither.")
        if logits.shape[1] == 1:
            return mean_squared_error(logits[:, 0], labels.to(logits.dtype))
        if labels.is_floating_point():
            raise ValueError(f"float labels are regressed: num_classes must be 1, not {logits.shape[1]}.")
        return mean_cross_entropy(logits, labels, self.smoothing)


def mean_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean over the ``[B]`` labels that are not -100; 0, not NaN, where all are."""
    options = {"ignore_index": IGNORE_INDEX, "reduction": "sum", "label_smoothing": smoothing}
    total = nn.functional.cross_entropy(logits, labels, **options)
    return total / (labels != IGNORE_INDEX).sum().clamp(min=1)


def mean_squared_error(predicted: Tensor, labels: Tensor) -> Tensor:
    """Mean over the ``[B]`` labels that are not -100; 0 where all are."""
    has_label = labels != IGNORE_INDEX
    return (predicted - labels).square().masked_fill(~has_label, 0.0).sum() / has_label.sum().clamp(min=1)


def weighted_cross_entropy(logits: Tensor, label_weights: Tensor) -> Tensor:
    """Cross entropies of ``[B, C]`` classes times their weights, summed, divided by B (not by the weights)."""
    return -(label_weights * logits.log_softmax(dim=1)).sum() / len(logits)
