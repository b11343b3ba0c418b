"""Masked language modelling by the text encoder alone, as for the language encoder of X-FM."""

from collections.abc import Sequence

from torch import Tensor

from x2vlm.constants import IGNORE_INDEX
from x2vlm.models.fusion.requests import FusedStates, FusionRequest, positions_of, states_at
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.mlm import MASKED, MLM, masked_words
from x2vlm.registry import OBJECTIVES


@OBJECTIVES.register_module()
class TextMLM(MLM):
    """Masked language modelling through the text encoder, without fusion and context (X-FM, arXiv:2301.05065).

    Args:
        text_width: Width of the text encoder.
        vocab_size: Number of words.
        tied: Score words by the text encoder's input embeddings instead of a matrix of its own.
        layer_norm_eps: Epsilon of the head's norm; RoBERTa's by default.
        init_from: As for :class:`~x2vlm.objectives.mlm.MLM`.
        weight: Factor of the objective's losses.
        word_width: As for :class:`~x2vlm.objectives.mlm.MLM`.
    """

    needs = Needs(masked_text=True, batch=MASKED)
    loss_name = "loss_text_mlm"

    def __init__(
        self,
        text_width: int,
        vocab_size: int,
        tied: bool = True,
        layer_norm_eps: float = 1e-5,
        weight: float = 1.0,
        init_from: str | None = None,
        word_width: int | None = None,
    ) -> None:
        super().__init__(text_width, vocab_size, tied, layer_norm_eps, weight, init_from, word_width)

    def requests(self, encoded: EncodedBatch) -> Sequence[FusionRequest]:
        """None: only the text encoder is used."""
        return ()

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        at, labels = positions_of(*masked_words(encoded), IGNORE_INDEX)
        states = states_at(encoded.masked_text.embeds, at)
        return {self.loss_name: self.loss(states, labels, encoded.word_embeddings)}
