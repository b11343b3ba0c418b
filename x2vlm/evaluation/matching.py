"""Does this text match this context? The matching objective, asked of chosen pairs.

The keys and values of a context are projected once and shared by every text that is scored against it; texts of about
the same length are scored together, so that little padding is computed.

Shape letters: P pairs to score.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from x2vlm.evaluation.words import alike
from x2vlm.models.encoded import Context, View


def matching_logits(
    model: Any, contexts: Context, which: Tensor, texts: View, text_index: Tensor, chunk: int = 256
) -> Tensor:
    """Both logits of the matching objective for chosen pairs, on keys and values projected once per image.

    Args:
        model: The model, with objective ``itm``.
        contexts: What the pairs choose contexts from, in main memory.
        which: ``[P]``, a context for each pair.
        texts: What the pairs choose texts from, in main memory.
        text_index: ``[P]``, a text for each pair.
        chunk: Pairs at a time.

    Returns:
        ``[P, 2]``, float, in main memory: does not match, matches.
    """
    logits = torch.empty(len(which), 2)
    owner, lengths = contexts.owner[which], texts.mask.sum(dim=1)
    for images, pairs in _groups(owner, chunk):
        tokens = contexts.tokens[images].to(model.device)
        memory = model.fusion_encoder.project(tokens)
        for places in alike(lengths[text_index[pairs]], chunk):
            some = pairs[places]
            chosen = contexts.select(which[some])
            local = Context(
                tokens,
                torch.searchsorted(images, chosen.owner).to(model.device),
                chosen.mask.to(model.device),
                chosen.summary.to(model.device),
            )
            fused = model.fusion_encoder(_without_padding(texts.select(text_index[some]), model.device), local, memory)
            logits[some] = model.objectives["itm"].score(fused[:, 0]).float().cpu()
    return logits


def match_logits(
    model: Any, contexts: Context, which: Tensor, texts: View, text_index: Tensor, chunk: int = 256
) -> Tensor:
    """Logit of "this text matches this context" for chosen pairs, ``[P]``; see :func:`matching_logits`."""
    return matching_logits(model, contexts, which, texts, text_index, chunk)[:, 1]


def _groups(owner: Tensor, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images with the positions of their pairs; images are taken together while their pairs fit in a chunk."""
    order = owner.argsort(stable=True)
    images, counts = torch.unique(owner, return_counts=True)
    start = 0
    while start < len(images):
        stop = start + max(1, int((counts[start:].cumsum(0) <= chunk).sum()))
        taken, order = order.split([int(counts[start:stop].sum()), len(order) - int(counts[start:stop].sum())])
        yield images[start:stop], taken
        start = stop


def _without_padding(texts: View, device: torch.device) -> View:
    length = int(texts.mask.any(dim=0).nonzero().max()) + 1
    return View(texts.embeds[:, :length].to(device), texts.mask[:, :length].to(device))
