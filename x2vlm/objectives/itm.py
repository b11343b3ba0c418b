"""Image-text matching with hard negatives."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from x2vlm.constants import IGNORE_INDEX
from x2vlm.models.fusion.requests import FusedStates, FusionRequest
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.base import Objective
from x2vlm.objectives.heads import two_layer_head
from x2vlm.objectives.positives import Positives, check_rule, keys_match, pair_keys
from x2vlm.registry import OBJECTIVES


@OBJECTIVES.register_module()
class ITM(Objective):
    """Matching loss with hard negatives from the process's own batch (arXiv:2211.12402v1, Eq. (2)).

    For every pair one negative context and one negative text are drawn, the likelier the more similar they are. Pairs
    that have no negative (a batch of one, or of one image's captions) train on the true pair only.

    Args:
        width: Width of the fusion encoder.
        positives: Which pairs count as true and are never drawn: ``pairs``, ``ids`` or ``ids_and_texts``; see
            ``x2vlm.objectives.positives``.
        weight: Factor of the objective's losses.
        max_pairs: Train on so many pairs of each batch, drawn at random; their negatives still come from the whole
            batch. A large batch then gives hard negatives at the cost of a small one. None trains on all, as published.
        label_smoothing: Share of the target that is spread over both classes; 0 as published.
        hardness: Factor of the similarities by which negatives are drawn: 1 as published, 0 draws any alike. Two
            numbers: drawn between them for each row. Where the fusion encoder begins from nothing and data are few,
            hard negatives alone leave matching at the loss of a guess; (0, 1) has easy ones among them.

    Raises:
        ValueError: If a number makes no sense.
    """

    needs = Needs(text=True, context=True, features=True)

    def __init__(
        self,
        width: int,
        positives: Positives = "ids",
        weight: float = 1.0,
        max_pairs: int | None = None,
        label_smoothing: float = 0.0,
        hardness: float | tuple[float, float] = 1.0,
    ) -> None:
        super().__init__()
        self.hardness = tuple(hardness) if isinstance(hardness, Sequence) else (hardness, hardness)
        if len(self.hardness) != 2 or not 0 <= self.hardness[0] <= self.hardness[1]:
            raise ValueError(f"hardness is {hardness}; expected 0 or more, or (least, greatest).")
        if max_pairs is not None and max_pairs < 1:
            raise ValueError(f"max_pairs is {max_pairs}; expected 1 or more, or None for all pairs.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; expected a share from 0 to below 1.")
        self.max_pairs, self.label_smoothing = max_pairs, label_smoothing
        self.head = two_layer_head(width, out_dim=2)
        self.positives, self.weight = check_rule(positives), weight

    def requests(self, encoded: EncodedBatch) -> list[FusionRequest]:
        """True pairs and drawn false ones."""
        t2i, i2t = self.sampling_weights(encoded)
        count = len(encoded.batch)
        if self.max_pairs is None or self.max_pairs >= count:
            return [self.request(encoded, draw(t2i), draw(i2t))]
        # Drawn by the generator of the CPU, which the step seeds; no device is waited for.
        pairs = torch.randperm(count)[: self.max_pairs].to(t2i.device, non_blocking=True)
        return [self.request(encoded, draw(t2i[pairs]), draw(i2t[pairs]), pairs)]

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        (pairs,) = fused
        logits = self.score(pairs.states)
        loss = nn.functional.cross_entropy(
            logits, pairs.request.labels, ignore_index=IGNORE_INDEX, label_smoothing=self.label_smoothing
        )
        return {"loss_itm": loss}

    @torch.no_grad()
    def sampling_weights(self, encoded: EncodedBatch) -> tuple[Tensor, Tensor]:
        """``[B, B]`` twice: row b weighs the contexts for text b, then the texts for context b; 0 for true pairs."""
        similarity = encoded.context.feat @ encoded.text.feat.T / encoded.temperature
        keys = pair_keys(encoded, self.positives)
        both_ways, (least, most) = torch.stack([similarity.T, similarity]), self.hardness
        if least < most:
            both_ways = both_ways * torch.empty_like(both_ways[:, :, :1]).uniform_(least, most)
        elif most != 1:
            both_ways = both_ways * most
        weights = both_ways.softmax(dim=2) + 1e-5
        # NaN features must not fail here, in the middle of a draw: the loss shows them where they are reported.
        return tuple(weights.masked_fill(keys_match(keys, keys), 0.0).nan_to_num(nan=1.0).unbind())

    def request(
        self,
        encoded: EncodedBatch,
        context_negatives: Tensor,
        text_negatives: Tensor,
        pairs: Tensor | None = None,
    ) -> FusionRequest:
        """True pairs, wrong contexts and wrong texts, ``3P`` rows in this order, with their labels.

        Args:
            encoded: ``B`` pairs.
            context_negatives: ``[P]``, a wrong context for each text; negative where there is none.
            text_negatives: ``[P]``, a wrong text for each context; negative where there is none.
            pairs: ``[P]``, the pairs to train on; all ``B`` if not given.
        """
        if pairs is None:
            pairs = torch.arange(len(encoded.batch), device=context_negatives.device)
        drawn = torch.cat([pairs, context_negatives, text_negatives])
        labels = torch.where(drawn >= 0, 0, IGNORE_INDEX)
        labels[: len(pairs)] = 1
        _, wrong_contexts, wrong_texts = drawn.clamp(min=0).chunk(3)
        contexts, texts = torch.cat([pairs, wrong_contexts, pairs]), torch.cat([pairs, pairs, wrong_texts])
        return FusionRequest(encoded.text, encoded.context, texts, contexts, at=0, labels=labels)

    def score(self, fused_summary: Tensor) -> Tensor:
        """``[B, D]`` fused summaries -> ``[B, 2]`` logits; class 1 means that text and context match."""
        return self.head(fused_summary)


def draw(weights: Tensor) -> Tensor:
    """One index for each row of ``[P, B]`` weights, in one call; -1 where a row is all zero. ``[P]`` long."""
    possible = weights.sum(dim=1) > 0
    # The same draw as torch.multinomial, without its check of the weights, which waits for the GPU.
    drawn = (weights / torch.empty_like(weights).exponential_()).argmax(dim=1)
    return torch.where(possible, drawn, -1)
