"""Texts against images: cosines of their features, and probabilities of matching."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.gallery.reranking.rerank_key_values import matching_logits
from x2vlm.inference.results import Match
from x2vlm.models.join_outputs import to_cpu
from x2vlm.models.outputs import Context, TextStates


def match(
    model: Any,
    pixels: Tensor,
    texts: Sequence[str],
    tokens: tuple[Tensor, Tensor],
    k: int | None = None,
    chunk: int = 64,
) -> list[list[Match]]:
    """Every text against every image.

    Args:
        model: The model.
        pixels: ``[B, 3, H, W]`` images or ``[B, F, 3, H, W]`` clips.
        texts: ``T`` texts.
        tokens: Their ids and mask, ``[T, L]`` each.
        k: Probabilities of so many texts of highest cosine; None: of all.
        chunk: Images at a time.

    Returns:
        For each image all texts, best first.
    """
    words = to_cpu(model.encode_text(*tokens))
    found = []
    for part in pixels.split(chunk):
        batch = Batch(text_ids=None, text_mask=None, pixels=part, owner=torch.arange(len(part)))
        contexts = to_cpu(model.encode_context(batch.to(model.device)))
        found += [_ranked(texts, *scores) for scores in zip(*pair_scores(model, contexts, words, k), strict=True)]
    return found


def pair_scores(
    model: Any, contexts: Context, texts: TextStates, k: int | None = None
) -> tuple[list[list[float | None]], list[list[float | None]]]:
    """Cosines and probabilities of all contexts with all texts, ``[B][T]``; None where there is none.

    Args:
        model: The model.
        contexts: ``B``, in main memory.
        texts: ``T``, in main memory.
        k: Probabilities of so many texts of highest cosine for each context; None: of all.
    """
    count, width = len(contexts), len(texts)
    cosines: list[list[float | None]] = [[None] * width for _ in range(count)]
    if contexts.feat is not None and texts.feat is not None:
        similarity = contexts.feat.float() @ texts.feat.float().T
        cosines = similarity.tolist()
    probabilities: list[list[float | None]] = [[None] * width for _ in range(count)]
    if "itm" not in model.objectives:
        return cosines, probabilities
    chosen = torch.arange(width).expand(count, width)
    if k is not None and k < width and contexts.feat is not None:
        chosen = similarity.topk(max(k, 1), dim=1).indices
    rows = torch.arange(count)[:, None].expand_as(chosen).flatten()
    logits = matching_logits(model, contexts, rows, texts, chosen.flatten())
    for row, column, value in zip(
        rows.tolist(), chosen.flatten().tolist(), logits.softmax(dim=-1)[:, 1].tolist(), strict=True
    ):
        probabilities[row][column] = value
    return cosines, probabilities


def _ranked(texts: Sequence[str], cosines: list[Any], probabilities: list[Any]) -> list[Match]:
    every = [Match(*one) for one in zip(texts, cosines, probabilities, strict=True)]
    return sorted(every, key=_goodness, reverse=True)


def _goodness(one: Match) -> tuple[float, float]:
    return (-1.0 if one.probability is None else one.probability, one.similarity or 0.0)
