"""Masked language modelling on fused texts."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from x2vlm.constants import IGNORE_INDEX
from x2vlm.models.autograd.linear_cross_entropy import linear_cross_entropy
from x2vlm.models.fusion.requests import FusedStates, FusionRequest, positions_of
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.base import Objective
from x2vlm.registry import OBJECTIVES
from x2vlm.weights.tower_weights import read_word_head

MASKED = ("masked_ids", "mlm_positions", "mlm_labels")


@OBJECTIVES.register_module()
class MLM(Objective):
    """Masked language modelling on the fused text (arXiv:2211.12402v1, Eq. (3)); plain text is fused with nothing.

    Of parallel texts, the words of the context sentence are masked, and predicted from the other one
    (CCLM, arXiv:2206.00621).

    Args:
        width: Width of the fusion encoder.
        vocab_size: Number of words.
        tied: Score words by the text encoder's input embeddings (as BERT does) instead of a matrix of its own.
        layer_norm_eps: Epsilon of the head's norm.
        init_from: Folder or name of a BERT, RoBERTa or XLM-R whose word head initialises this one, if it has one of
            these sizes; the text encoder's ``path`` where not given, as published.
        weight: Factor of the objective's losses.
        word_width: Width of the text encoder's input embeddings, into which tied scores project (as in ELECTRA and
            ALBERT); ``width`` if not given.
    """

    needs = Needs(masked_text=True, masked_context=True, batch=MASKED)
    loss_name = "loss_mlm"

    def __init__(
        self,
        width: int,
        vocab_size: int,
        tied: bool = True,
        layer_norm_eps: float = 1e-12,
        weight: float = 1.0,
        init_from: str | None = None,
        word_width: int | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight
        inner = word_width if tied and word_width else width
        self.dense = nn.Linear(width, inner)
        self.LayerNorm = nn.LayerNorm(inner, eps=layer_norm_eps)
        self.decoder = None if tied else nn.Linear(width, vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)
        if self.decoder is not None:
            nn.init.normal_(self.decoder.weight, std=0.02)
        self._copied = self._initialise_from(read_word_head(init_from)) if init_from else set()

    def pretrained_names(self) -> set[str]:
        """Parameters that were copied from ``init_from``."""
        return self._copied

    def _initialise_from(self, head: Mapping[str, Tensor]) -> set[str]:
        """Copy a whole head, or nothing where it is missing or of another size; returns the names that were copied."""
        state = self.state_dict()
        matching = {
            name: head[name] for name, value in state.items() if name in head and head[name].shape == value.shape
        }
        if matching.keys() != state.keys():
            return set()
        self.load_state_dict(matching)
        return set(matching)

    def requests(self, encoded: EncodedBatch) -> list[FusionRequest]:
        """The masked texts, at the words to predict, with those words as labels."""
        at, labels = positions_of(*masked_words(encoded), IGNORE_INDEX)
        return [FusionRequest(encoded.masked_text, encoded.masked_context, at=at, labels=labels)]

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        (words,) = fused
        return {self.loss_name: self.loss(words.states, words.request.labels, encoded.word_embeddings)}

    def loss(self, states: Tensor, labels: np.ndarray, word_embeddings: Tensor) -> Tensor:
        """Mean cross entropy of ``[P, D]`` states; 0 where there are none.

        Args:
            states: Of the masked tokens.
            labels: ``[P]``, the true words, in main memory.
            word_embeddings: ``[V, W]``.
        """
        labels = torch.from_numpy(labels).to(states.device, non_blocking=True)
        return linear_cross_entropy(*self.scorer(states, word_embeddings), labels) / max(1, len(labels))

    def logits(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> Tensor:
        """``[P, V]`` scores of every word at the positions to predict, row by row."""
        return self.score(fused[0].states, encoded.word_embeddings)

    def score(self, hidden: Tensor, word_embeddings: Tensor) -> Tensor:
        """``[..., D]`` fused tokens -> ``[..., V]`` word scores."""
        return nn.functional.linear(*self.scorer(hidden, word_embeddings))

    def scorer(self, hidden: Tensor, word_embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The factors of :meth:`score`: ``[..., W]`` tokens after the head, ``[V, W]`` words, ``[V]`` biases."""
        hidden = self.LayerNorm(nn.functional.gelu(self.dense(hidden)))
        return hidden, word_embeddings if self.decoder is None else self.decoder.weight, self.bias


def masked_words(encoded: EncodedBatch) -> tuple[np.ndarray, np.ndarray]:
    """Labels and positions of the words to predict, ``[B, M]`` each, in main memory."""
    host = encoded.batch.on_host()
    return host.mlm_labels, host.mlm_positions
