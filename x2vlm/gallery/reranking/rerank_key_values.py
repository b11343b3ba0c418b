"""Matching logits (ITM) of selected pairs of a context and a text.

Keys and values of a context are projected once and shared by all texts that are scored against it, and only real
tokens are computed. The layout of the pairs is planned in main memory; the device is waited for once, when all are
scored.

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
    model: Any, contexts: Context, context_index: Index, texts: TextStates, text_index: Index, chunk: int = 256
) -> Tensor:
    """Both logits of objective ``itm`` for selected pairs, with keys and values projected once per image.

    Args:
        model: The model, with objective ``itm``.
        contexts: The contexts that pairs index, in main memory.
        context_index: ``[P]``, the context of each pair, in main memory.
        texts: The texts that pairs index, in main memory, or (see :func:`texts_on_device`) on the device.
        text_index: ``[P]``, the text of each pair, in main memory.
        chunk: Pairs at a time.

    Returns:
        ``[P, 2]``, float, in main memory: does not match, matches.
    """
    logit_chunks, order = [torch.zeros(0, 2, device=model.device)], [np.zeros(0, np.int64)]
    texts, owner = texts_on_device(texts, model.device), owner_on_host(contexts)
    context_index, text_index = on_host(context_index), on_host(text_index)
    for images, pairs in _image_groups(owner[context_index], chunk):
        used, local_index = np.unique(context_index[pairs], return_inverse=True)
        local = _select_contexts(contexts, used, np.searchsorted(images, owner[used]), images, model.device)
        slices = [slice(start, start + chunk) for start in range(0, len(pairs), chunk)]
        keys_values = None if len(slices) == 1 or model.fusion_encoder is None else _project(model, local)
        for part in slices:
            used_texts, local_text = np.unique(text_index[pairs[part]], return_inverse=True)
            request = FusionRequest(
                _select_texts(texts, used_texts, model.device),
                local,
                texts=local_text,
                contexts=local_index[part],
                at=0,
                keys_values=keys_values,
            )
            logit_chunks.append(model.objectives["itm"].score(model.read([request])[0].states).float())
            order.append(pairs[part])
    logits = torch.empty(len(context_index), 2)
    logits[torch.from_numpy(np.concatenate(order))] = torch.cat(logit_chunks).cpu()
    return logits


def positive_logits(
    model: Any, contexts: Context, context_index: Index, texts: TextStates, text_index: Index, chunk: int = 256
) -> Tensor:
    """The logit of class "matches" for selected pairs, ``[P]``; see :func:`matching_logits`."""
    return matching_logits(model, contexts, context_index, texts, text_index, chunk)[:, 1]


def texts_on_device(texts: TextStates, device: torch.device) -> TextStates:
    """Texts on the device, with their mask in main memory, if they fit ``DEVICE_BUDGET``; else as they are.

    A caller that scores many pairs in several calls copies the texts once with this.
    """
    if texts.host_mask is None:
        texts = replace(texts, host_mask=texts.mask.cpu().numpy())
    fits = texts.embeds.numel() * texts.embeds.element_size() <= DEVICE_BUDGET
    if not fits or texts.embeds.device == device:
        return texts
    return replace(texts, embeds=texts.embeds.to(device), mask=texts.mask.to(device), feat=None)


def _image_groups(owner: np.ndarray, chunk: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images with the positions of their pairs; images are grouped while their pairs fit in a chunk."""
    order = np.argsort(owner, kind="stable")
    images, counts = np.unique(owner, return_counts=True)
    start = first = 0
    while start < len(images):
        stop = start + max(1, int((counts[start:].cumsum() <= chunk).sum()))
        last = first + int(counts[start:stop].sum())
        yield images[start:stop], order[first:last]
        start, first = stop, last


def _select_contexts(
    contexts: Context, used: np.ndarray, owner: np.ndarray, images: np.ndarray, device: torch.device
) -> Context:
    """Contexts at ``used`` on the device, with the tokens of ``images`` only; ``owner`` indexes these images."""
    index = torch.from_numpy(used)
    return Context(
        contexts.tokens[torch.from_numpy(images)].to(device),
        torch.from_numpy(owner).to(device, non_blocking=True),
        contexts.mask[index].to(device),
        contexts.summary[index].to(device),
        host_owner=owner,
    )


def _project(model: Any, context: Context) -> Any:
    """Keys and values for all chunks of these images; None where the fusion encoder cannot project them ahead."""
    project = getattr(model.fusion_encoder, "project", None)
    return None if project is None else project(context.tokens)


def _select_texts(texts: TextStates, index: np.ndarray, device: torch.device) -> TextStates:
    """Texts at ``index`` on the device, padded to the longest of them."""
    host_mask = texts.host_mask[index]
    length = int(np.flatnonzero(host_mask.any(axis=0)).max()) + 1
    rows = torch.from_numpy(index).to(texts.embeds.device, non_blocking=True)
    embeds, mask = (tensor[rows, :length].to(device) for tensor in (texts.embeds, texts.mask))
    return TextStates(embeds, mask, host_mask=host_mask[:, :length])
