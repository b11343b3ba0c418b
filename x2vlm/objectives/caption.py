"""Captions: which word comes next, given the picture and the words before?

Shape letters: B captions, M guessed tokens, R texts under way, T tokens so far, V words, D width.
"""

from collections.abc import Callable
from math import log
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from x2vlm.data.captioning import PROMPT, causal_mask, prompt_ids
from x2vlm.models.fusion.encoder import CrossAttentionFusion, KeyValue
from x2vlm.models.fusion.incremental import fuse_on, look_at
from x2vlm.models.generation.kv_cache import Memory
from x2vlm.models.generation.search import Search, Written
from x2vlm.models.ops.linear_cross_entropy import linear_cross_entropy
from x2vlm.models.outputs import EncodedBatch, TextStates
from x2vlm.objectives.mlm import IGNORE, MLM
from x2vlm.registry import OBJECTIVES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@OBJECTIVES.register_module()
class CaptionGeneration(MLM):
    """Masked language modelling from left to right, which can then write captions (UniLM, arXiv:1905.03197).

    Batches come from :class:`~x2vlm.data.captioning.CaptionCollate`. The target of each guess is the true word with
    probability ``1 - smoothing``, the rest spread over all other words but [CLS]; the loss is the divergence of the
    prediction from it, so that a perfect prediction costs nothing. It is summed and divided by the number of guesses
    plus 1e-5, as published.

    Args:
        width: Width of the fusion encoder.
        vocab_size: Number of words.
        tokenizer: Tells [CLS], [SEP], [MASK] and the prompt's tokens.
        prompt: What every caption begins with; the same as in ``CaptionCollate``.
        smoothing: Probability that is taken from the true word; from 0 to below 1.
        tied: Score words by the text encoder's input embeddings instead of a matrix of its own.
        layer_norm_eps: Epsilon of the head's norm.
        weight: Factor of the objective's losses.

    Raises:
        ValueError: If the smoothing has no meaning, or the tokenizer lacks a token.
    """

    requires = ("batch.masked_mask", *MLM.requires, "context.tokens")
    loss_name = "loss_caption"

    def __init__(
        self,
        width: int,
        vocab_size: int,
        tokenizer: "PreTrainedTokenizerBase",
        prompt: str = PROMPT,
        smoothing: float = 0.1,
        tied: bool = True,
        layer_norm_eps: float = 1e-12,
        weight: float = 1.0,
    ) -> None:
        super().__init__(width, vocab_size, tied, layer_norm_eps, weight)
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing}; expected a share from 0 to below 1.")
        lacking = [name for name in ("cls", "sep", "mask") if getattr(tokenizer, f"{name}_token_id", None) is None]
        if lacking:
            raise ValueError(f"the tokenizer {type(tokenizer).__name__} has no {', '.join(lacking)} token.")
        self.smoothing = smoothing
        self.cls_id, self.end_id, self.mask_id = (getattr(tokenizer, f"{n}_token_id") for n in ("cls", "sep", "mask"))
        self.start_ids = [self.cls_id, *prompt_ids(tokenizer, prompt)]

    def forward(self, encoded: EncodedBatch, asked: Callable[[], Tensor] | None = None) -> dict[str, Tensor]:
        labels = encoded.batch.mlm_labels
        guessed = (labels != IGNORE) & (labels != self.cls_id)
        factors = self.scorer((asked or self.ask(encoded))()[guessed], encoded.word_embeddings)
        return {self.loss_name: smoothed_divergence(*factors, labels[guessed], self.smoothing, self.cls_id)}

    def generate(self, encoded: EncodedBatch, search: Search, remember: bool = True) -> list[Written]:
        """Write a caption for each context of ``encoded``, with the words after the prompt only.

        Args:
            encoded: Its contexts are read, one caption for each pair; it needs no texts.
            search: How words are chosen.
            remember: Read each token once (keys and values are kept) where the towers can, not anew at every word.
        """
        start = torch.tensor([self.start_ids], device=encoded.context.tokens.device)
        reader = CaptionReader(self, encoded, Memory() if remember else None)
        return search(reader, start.expand(len(encoded.context), -1), self.end_id)


class CaptionReader:
    """The next word of captions under way: what stands at a [MASK] behind them, as in training.

    With a memory, each word goes through the towers once. Where the fusion encoder is the published one, keys and
    values of a picture are projected once for all words and beams, and its last layer computes the [MASK] alone.

    Args:
        objective: Whose head scores words.
        encoded: Contexts and towers.
        memory: Keeps what was read; None reads everything anew at each call. It is given up where a tower does not
            use it.
    """

    def __init__(self, objective: CaptionGeneration, encoded: EncodedBatch, memory: Memory | None) -> None:
        self.objective, self.encoded, self.memory = objective, encoded, memory
        self.owner = torch.arange(len(encoded.context), device=encoded.context.tokens.device)
        self.looked_at: tuple[list[KeyValue], Tensor] | None = None
        if memory is not None and isinstance(encoded.fusion, CrossAttentionFusion):
            self.looked_at = look_at(encoded.fusion, encoded.context)

    def __call__(self, ids: Tensor, rows: Tensor) -> Tensor:
        """``[R, V]`` log-probabilities; see :class:`~x2vlm.models.generation.search.Reader`."""
        self.owner = self.owner[rows]
        asked = torch.cat([ids, ids.new_full((len(ids), 1), self.objective.mask_id)], dim=1)
        hidden = self._anew(asked) if self.memory is None else self._read_on(asked, rows)
        return self.objective.score(hidden, self.encoded.word_embeddings).float().log_softmax(dim=-1)

    def _anew(self, asked: Tensor) -> Tensor:
        return self.encoded.fuse(self.encoded.context.select(self.owner), self._text(asked, 0))[:, -1]

    def _read_on(self, asked: Tensor, rows: Tensor) -> Tensor:
        if self.memory.length:
            self.memory.select(rows)
        with self.memory.used():
            text = self._text(asked, self.memory.length)
            if self.looked_at is None:
                hidden = self.encoded.fuse(self.encoded.context.select(self.owner), text)[:, -1]
            else:
                hidden = fuse_on(self.encoded.fusion, text, *self._grouped(*self.looked_at))
        first = not self.memory.length
        self.memory.keep(asked.shape[1] - 1)  # the [MASK] gives way to the word
        if first and not _both_remember(self.memory, self.encoded.fusion):
            self.memory = None
        return hidden

    def _text(self, ids: Tensor, known: int) -> TextStates:
        """The tokens after the first ``known``, which are remembered, through the text encoder."""
        mask = causal_mask(torch.ones_like(ids, dtype=torch.bool))[:, known:]
        positions = torch.arange(known, ids.shape[1], device=ids.device)[None] if known else None
        return self.encoded.encode_text(ids[:, known:], mask, positions)

    def _grouped(self, memory: list[KeyValue], sees: Tensor) -> tuple[list[KeyValue], Tensor]:
        """What is looked at, as it is where the texts of a context are neighbours, as beams are; else one by one."""
        every, rest = divmod(len(self.owner), len(sees))
        in_order = torch.arange(len(sees), device=sees.device).repeat_interleave(every)
        if not rest and torch.equal(self.owner, in_order):
            return memory, sees
        return [(key[self.owner], value[self.owner]) for key, value in memory], sees[self.owner]


def _both_remember(memory: Memory, fusion: Any) -> bool:
    """Whether both the text encoder and the fusion encoder have put something into the memory."""
    of_fusion = {id(module) for module in fusion.modules()}
    return {id(owner) in of_fusion for owner in memory.kept} == {True, False}


def smoothed_divergence(
    hidden: Tensor, words: Tensor, bias: Tensor, labels: Tensor, smoothing: float, cls_id: int
) -> Tensor:
    """Divergence of predictions from smoothed targets, per guess.

    Args:
        hidden: ``[N, D]``, what each guess is made from.
        words: ``[V, D]``; a word's score is its product with ``hidden``, plus ``bias``.
        bias: ``[V]``.
        labels: ``[N]`` true words, none of them [CLS].
        smoothing: Spread over the ``V - 2`` words that are neither the true one nor [CLS].
        cls_id: [CLS], which gets no share.

    Returns:
        Scalar: the sum over guesses divided by their number plus 1e-5; 0 where there are none.
    """
    shares = torch.tensor([1 - smoothing, smoothing], dtype=torch.float64)
    least = torch.special.entr(shares).sum().item() + smoothing * log(len(words) - 2)  # what perfect guesses cost
    total = linear_cross_entropy(hidden, words, bias, labels, smoothing, cls_id) - least * len(labels)
    return total / (len(labels) + 1e-5)
