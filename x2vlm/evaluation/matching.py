"""Does this text match this context? The matching objective, asked of chosen pairs.

The keys and values of a context are projected once and shared by every text that is scored against it, and only real
tokens are read.

Shape letters: P pairs to score.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from x2vlm.models.fusion.plan import Reading
from x2vlm.models.outputs import Context, Reader, TextStates


def matching_logits(
    model: Any, contexts: Context, which: Tensor, texts: TextStates, text_index: Tensor, chunk: int = 256
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
    owner = contexts.owner[which]
    for images, pairs in _groups(owner, chunk):
        used, place = torch.unique(which[pairs], return_inverse=True)
        local = _on_device(contexts.select(used), images, model.device)
        reader, alone = Reader(model.fusion_encoder), len(pairs) <= chunk
        for some, context in zip(pairs.split(chunk), place.to(model.device).split(chunk), strict=True):
            words, text = torch.unique(text_index[some], return_inverse=True)
            view = _without_padding(texts.select(words), model.device)
            reading = Reading(view, local, text.to(model.device), context, at=0)
            # Keys and values are kept for the next chunk, if there is one.
            states = reader.ask(reading)() if alone else reader.read(reading)
            logits[some] = model.objectives["itm"].score(states).float().cpu()
    return logits


def match_logits(
    model: Any, contexts: Context, which: Tensor, texts: TextStates, text_index: Tensor, chunk: int = 256
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


def _on_device(contexts: Context, images: Tensor, device: torch.device) -> Context:
    """Contexts of some images with the tokens of these alone."""
    return Context(
        contexts.tokens[images].to(device),
        torch.searchsorted(images, contexts.owner).to(device),
        contexts.mask.to(device),
        contexts.summary.to(device),
    )


def _without_padding(texts: TextStates, device: torch.device) -> TextStates:
    length = int(texts.mask.any(dim=0).nonzero().max()) + 1
    return TextStates(texts.embeds[:, :length].to(device), texts.mask[:, :length].to(device))
