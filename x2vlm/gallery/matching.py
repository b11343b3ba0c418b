"""Does this text match this context? The matching objective, asked of chosen pairs.

The keys and values of a context are projected once and shared by every text that is scored against it, and only real
tokens are read. Where pairs stand is known in main memory; the device is waited for once, when all are scored.

Shape letters: P pairs to score.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from x2vlm.models.fusion.key_value_sources import owner_on_host
from x2vlm.models.fusion.requests import FusionRequest, Index, on_host
from x2vlm.models.outputs import Context, TextStates

DEVICE_BUDGET = 2**31  # bytes of encoded texts that are kept on the device for all chunks


def matching_logits(
    model: Any, contexts: Context, which: Index, texts: TextStates, text_index: Index, chunk: int = 256
) -> Tensor:
    """Both logits of the matching objective for chosen pairs, on keys and values projected once per image.

    Args:
        model: The model, with objective ``itm``.
        contexts: What the pairs choose contexts from, in main memory.
        which: ``[P]``, a context for each pair, in main memory.
        texts: What the pairs choose texts from, in main memory, or (see :func:`texts_near`) on the device.
        text_index: ``[P]``, a text for each pair, in main memory.
        chunk: Pairs at a time.

    Returns:
        ``[P, 2]``, float, in main memory: does not match, matches.
    """
    found, order = [torch.zeros(0, 2, device=model.device)], [np.zeros(0, np.int64)]
    texts, owner = texts_near(texts, model.device), owner_on_host(contexts)
    which, text_index = on_host(which), on_host(text_index)
    for images, pairs in _groups(owner[which], chunk):
        used, place = np.unique(which[pairs], return_inverse=True)
        local = _on_device(contexts, used, np.searchsorted(images, owner[used]), images, model.device)
        parts = [slice(start, start + chunk) for start in range(0, len(pairs), chunk)]
        keys_values = None if len(parts) == 1 or model.fusion_encoder is None else _projected(model, local)
        for part in parts:
            words, text = np.unique(text_index[pairs[part]], return_inverse=True)
            request = FusionRequest(
                _chosen(texts, words, model.device),
                local,
                texts=text,
                contexts=place[part],
                at=0,
                keys_values=keys_values,
            )
            found.append(model.objectives["itm"].score(model.read([request])[0].states).float())
            order.append(pairs[part])
    logits = torch.empty(len(which), 2)
    logits[torch.from_numpy(np.concatenate(order))] = torch.cat(found).cpu()
    return logits


def match_logits(
    model: Any, contexts: Context, which: Index, texts: TextStates, text_index: Index, chunk: int = 256
) -> Tensor:
    """Logit of "this text matches this context" for chosen pairs, ``[P]``; see :func:`matching_logits`."""
    return matching_logits(model, contexts, which, texts, text_index, chunk)[:, 1]


def texts_near(texts: TextStates, device: torch.device) -> TextStates:
    """Texts on the device, with their mask in main memory, if they fit the budget; else where they are.

    Who scores many pairs in several calls moves the texts once.
    """
    if texts.host_mask is None:
        texts = replace(texts, host_mask=texts.mask.cpu().numpy())
    fits = texts.embeds.numel() * texts.embeds.element_size() <= DEVICE_BUDGET
    if not fits or texts.embeds.device == device:
        return texts
    return replace(texts, embeds=texts.embeds.to(device), mask=texts.mask.to(device), feat=None)


def _groups(owner: np.ndarray, chunk: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images with the positions of their pairs; images are taken together while their pairs fit in a chunk."""
    order = np.argsort(owner, kind="stable")
    images, counts = np.unique(owner, return_counts=True)
    start = first = 0
    while start < len(images):
        stop = start + max(1, int((counts[start:].cumsum() <= chunk).sum()))
        last = first + int(counts[start:stop].sum())
        yield images[start:stop], order[first:last]
        start, first = stop, last


def _on_device(
    contexts: Context, used: np.ndarray, owner: np.ndarray, images: np.ndarray, device: torch.device
) -> Context:
    """Some contexts with the tokens of their images alone; ``owner`` says which of these are theirs."""
    index = torch.from_numpy(used)
    return Context(
        contexts.tokens[torch.from_numpy(images)].to(device),
        torch.from_numpy(owner).to(device, non_blocking=True),
        contexts.mask[index].to(device),
        contexts.summary[index].to(device),
        host_owner=owner,
    )


def _projected(model: Any, context: Context) -> Any:
    """Keys and values for all chunks of these images."""
    project = getattr(model.fusion_encoder, "project", None)
    return None if project is None else project(context.tokens)


def _chosen(texts: TextStates, index: np.ndarray, device: torch.device) -> TextStates:
    """Some texts, without the padding that none of them needs."""
    host_mask = texts.host_mask[index]
    length = int(np.flatnonzero(host_mask.any(axis=0)).max()) + 1
    where = torch.from_numpy(index).to(texts.embeds.device, non_blocking=True)
    embeds, mask = (each[where, :length].to(device) for each in (texts.embeds, texts.mask))
    return TextStates(embeds, mask, host_mask=host_mask[:, :length])
