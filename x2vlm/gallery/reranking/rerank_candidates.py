"""Two-stage search: the nearest candidates by cosine, then the matching logits of these.

A pair that is a candidate in both directions is scored once. Where keys and values of a context are kept for all its
texts: :mod:`x2vlm.gallery.reranking.rerank_key_values`.

Shape letters: C distinct contexts, T texts, R queries, P pairs to score, k candidates per query.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from x2vlm.distributed import all_gather_lists
from x2vlm.gallery.encode_in_memory import RetrievalFeatures
from x2vlm.gallery.nearest_neighbours import NO_CANDIDATE
from x2vlm.gallery.reranking.rerank_key_values import positive_logits, texts_on_device

NOT_SCORED = -100.0  # score of the candidates outside the first k, as in the published evaluation
PairScorer = Callable[[Tensor, Tensor], Tensor]
"""Matching logits ``[P]`` of pairs, from their contexts ``[P]``, ascending, and their texts ``[P]``."""


def similarity_chunks(queries: Tensor, gallery: Tensor, chunk: int) -> Iterator[Tensor]:
    """Cosines of queries with all candidates, ``chunk`` queries at a time.

    Args:
        queries: ``[R, E]``, L2-normalised.
        gallery: ``[C, E]``, L2-normalised.
        chunk: Queries at a time.

    Yields:
        ``[chunk, C]``, fewer rows in the last one.
    """
    columns = gallery.float().T
    for feats in queries.float().split(chunk):
        yield feats @ columns


def score_candidates(score: PairScorer, texts_of: Tensor, contexts_of: Tensor) -> tuple[Tensor, Tensor]:
    """Matching logits of the candidates of each query; a pair that both directions need is scored once.

    Args:
        score: Matching logits of pairs.
        texts_of: ``[C, k]``, the candidate texts of each context; ``NO_CANDIDATE`` where there is none.
        contexts_of: ``[T, k]``, the candidate contexts of each text; likewise.

    Returns:
        ``[C, k]`` and ``[T, k]``; -inf where there is no candidate.
    """
    contexts, texts = len(texts_of), len(contexts_of)
    by_context = torch.arange(contexts)[:, None] * texts + texts_of  # [C, k], one number per pair
    by_text = contexts_of * texts + torch.arange(texts)[:, None]  # [T, k]
    masks = texts_of != NO_CANDIDATE, contexts_of != NO_CANDIDATE
    needed = by_context[masks[0]], by_text[masks[1]]
    pairs = torch.unique(torch.cat(needed))  # [P], sorted by context
    scores = score(pairs // texts, pairs % texts)
    results = []
    for mask, numbers in zip(masks, needed, strict=True):
        logits = torch.full(mask.shape, -torch.inf)
        logits[mask] = scores[torch.searchsorted(pairs, numbers)]
        results.append(logits)
    return results[0], results[1]


def score_pairs_in_memory(
    model: Any, features: RetrievalFeatures, contexts: Tensor, texts: Tensor, chunk: int
) -> Tensor:
    """Matching logits of pairs, each scored by the process that holds the tokens of its context.

    Args:
        model: The model, with objective ``itm``.
        features: Encoded contexts and texts.
        contexts: ``[P]``, ascending, the context of each pair.
        texts: ``[P]``, the text of each pair.
        chunk: Pairs at a time.

    Returns:
        ``[P]``, the same in every process.
    """
    local_logits, encoded_texts = [], texts_on_device(features.texts, model.device)
    for encoded, columns in zip(features.local_contexts, features.local_columns, strict=True):
        first, last = (torch.searchsorted(contexts, columns, right=right) for right in (False, True))
        context_index = torch.repeat_interleave(torch.arange(len(encoded)), last - first)
        pairs = torch.cat([torch.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
        logits = positive_logits(model, encoded, context_index, encoded_texts, texts[pairs], chunk)
        local_logits.append((pairs, logits))
    scores = torch.full((len(contexts),), float("nan"))
    for pairs, logits in all_gather_lists(local_logits):
        scores[pairs] = logits
    return scores
