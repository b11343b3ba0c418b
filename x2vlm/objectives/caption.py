"""Caption generation: masked language modelling with causal attention.

Shape letters: B captions, M masked tokens, R partial captions, T tokens so far, V words, D width.
"""

from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.collate.caption_collate import PROMPT, causal_mask, prompt_ids
from x2vlm.models.autograd.linear_cross_entropy import linear_cross_entropy
from x2vlm.models.encode import TextIds, encode_text
from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.fusion.incremental import fuse_next, project_context
from x2vlm.models.fusion.requests import FusionRequest, positions_of
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.generation.search import GeneratedText, Search
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch, TextStates
from x2vlm.objectives.mlm import MASKED, MLM, masked_words
from x2vlm.registry import OBJECTIVES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@OBJECTIVES.register_module()
class CaptionGeneration(MLM):
    """Masked language modelling from left to right, which can generate captions (UniLM, arXiv:1905.03197).

    Batches come from :class:`~x2vlm.data.collate.caption_collate.CaptionCollate`. The target at each masked token is
    the true word with probability ``1 - smoothing``, the rest spread over all other words but [CLS]; the loss is the
    divergence of the prediction from it, 0 for a perfect prediction. It is summed and divided by the number of masked
    tokens plus 1e-5, as published.

    Args:
        width: Width of the fusion encoder.
        vocab_size: Number of words.
        tokenizer: For [CLS], [SEP], [MASK] and the prompt's tokens.
        prompt: The prompt of every caption; the same as in ``CaptionCollate``.
        smoothing: Probability that is taken from the true word; from 0 to below 1.
        tied: Score words by the text encoder's input embeddings instead of a matrix of its own.
        layer_norm_eps: Epsilon of the head's norm.
        weight: Factor of the objective's losses.
        word_width: As for :class:`~x2vlm.objectives.mlm.MLM`.

    Raises:
        ValueError: If the smoothing has no meaning, or the tokenizer lacks a token.
    """

    needs = Needs(masked_text=True, context=True, batch=("masked_mask", *MASKED))
    loss_name = "loss_caption"
    masks_after = 1
    """How many [MASK] come behind a partial caption, at the last token of which its next word is predicted."""

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
        word_width: int | None = None,
    ) -> None:
        super().__init__(width, vocab_size, tied, layer_norm_eps, weight, word_width=word_width)
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing}; expected a share from 0 to below 1.")
        lacking = [name for name in ("cls", "sep", "mask") if getattr(tokenizer, f"{name}_token_id", None) is None]
        if lacking:
            raise ValueError(f"the tokenizer {type(tokenizer).__name__} has no {', '.join(lacking)} token.")
        self.smoothing = smoothing
        self.cls_id, self.end_id, self.mask_id = (getattr(tokenizer, f"{n}_token_id") for n in ("cls", "sep", "mask"))
        self.start_ids = [self.cls_id, *prompt_ids(tokenizer, prompt)]

    def requests(self, encoded: EncodedBatch) -> list[FusionRequest]:
        """The captions, at the masked words; [CLS] is never one of them."""
        labels, positions = masked_words(encoded)
        at, labels = positions_of(np.where(labels == self.cls_id, IGNORE_INDEX, labels), positions, IGNORE_INDEX)
        return [FusionRequest(encoded.masked_text, encoded.context, at=at, labels=labels)]

    def loss(self, states: Tensor, labels: np.ndarray, word_embeddings: Tensor) -> Tensor:
        """The smoothed divergence of predictions from ``[P, D]`` states; see :func:`smoothed_divergence`."""
        labels = torch.from_numpy(labels).to(states.device, non_blocking=True)
        return smoothed_divergence(*self.scorer(states, word_embeddings), labels, self.smoothing, self.cls_id)

    def generate(self, model: Any, encoded: EncodedBatch, search: Search, cached: bool = True) -> list[GeneratedText]:
        """Generate a caption for each context of ``encoded``; returns the words after the prompt.

        Args:
            model: The model, whose towers encode the partial captions.
            encoded: Its contexts are read, one caption for each pair; it needs no texts.
            search: How words are chosen.
            cached: Compute each token once, with a KV cache, where the towers support it, not anew at every word.
        """
        start = torch.tensor([self.start_ids], device=encoded.context.tokens.device)
        reader = CaptionReader(self, model, encoded, KVCache() if cached else None)
        return search(reader, start.expand(len(encoded.context), -1), self.end_id)


class CaptionReader:
    """Next-word scores of partial captions: the prediction at a [MASK] after them, or at their last token.

    With a cache, each word goes through the towers once, keys and values of an image are projected once for all words
    and beams, and the last layer of the fusion encoder computes the last token alone.

    Args:
        objective: Whose head scores words.
        model: The towers.
        encoded: The contexts.
        cache: Of earlier tokens; None computes everything anew at each call. It is dropped where a tower does not use
            it.
    """

    def __init__(self, objective: CaptionGeneration, model: Any, encoded: EncodedBatch, cache: KVCache | None) -> None:
        self.objective, self.model, self.encoded = objective, model, encoded
        self.cache = cache if isinstance(model.fusion_encoder, CrossAttentionFusion) else None
        self.projected = None if self.cache is None else project_context(model.fusion_encoder, encoded.context)

    def __call__(self, ids: Tensor, rows: Tensor) -> Tensor:
        """``[R, V]`` log-probabilities; see :class:`~x2vlm.models.generation.search.Reader`."""
        ids = torch.nn.functional.pad(ids, (0, self.objective.masks_after), value=self.objective.mask_id)
        hidden = self._score_all_tokens(ids) if self.cache is None else self._score_new_tokens(ids, rows)
        return self.objective.score(hidden, self.encoded.word_embeddings).float().log_softmax(dim=-1)

    def _score_all_tokens(self, ids: Tensor) -> Tensor:
        context = self.encoded.context
        owner = np.arange(len(ids)) // (len(ids) // len(context))
        request = FusionRequest(self._text(ids, 0, None), context, contexts=owner)
        return self.model.read([request])[0].states[:, -1]

    def _score_new_tokens(self, ids: Tensor, rows: Tensor) -> Tensor:
        cache = self.cache
        if cache.length:
            cache.select(rows)
        text = self._text(ids, cache.length, cache)
        if not cache.kept:  # the text encoder does not use the cache
            self.cache = None
            return self._score_all_tokens(ids)
        hidden = fuse_next(self.model.fusion_encoder, text, self.projected, cache)
        cache.keep(ids.shape[1] - self.objective.masks_after)  # the [MASK] gives way to the word
        return hidden

    def _text(self, ids: Tensor, num_cached: int, cache: KVCache | None) -> TextStates:
        """The tokens after the first ``known``, which are in the cache, through the text encoder."""
        mask = causal_mask(torch.ones_like(ids, dtype=torch.bool))[:, num_cached:]
        positions = torch.arange(num_cached, ids.shape[1], device=ids.device)[None] if num_cached else None
        return encode_text(self.model, TextIds(ids[:, num_cached:], mask, positions), cache)


def smoothed_divergence(
    hidden: Tensor, words: Tensor, bias: Tensor, labels: Tensor, smoothing: float, cls_id: int
) -> Tensor:
    """Divergence of predictions from smoothed targets, per prediction.

    Args:
        hidden: ``[N, D]`` states.
        words: ``[V, D]``; a word's score is its product with ``hidden``, plus ``bias``.
        bias: ``[V]``.
        labels: ``[N]`` true words, none of them [CLS].
        smoothing: Spread over the ``V - 2`` words that are neither the true one nor [CLS].
        cls_id: [CLS], which gets no share.

    Returns:
        Scalar: the sum over predictions divided by their number plus 1e-5; 0 where there are none.
    """
    shares = torch.tensor([1 - smoothing, smoothing], dtype=torch.float64)
    least = torch.special.entr(shares).sum().item() + smoothing * log(
        len(words) - 2
    )  # the cross entropy of perfect predictions
    total = linear_cross_entropy(hidden, words, bias, labels, smoothing, cls_id) - least * len(labels)
    return total / (len(labels) + 1e-5)
