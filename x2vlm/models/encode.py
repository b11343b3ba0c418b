"""The first phase of a step: batches through the towers, once each, and only what the objectives need.

Shape letters: B pairs, U distinct contexts, F frames, N patches, L tokens, D width, E embed_dim.
"""

from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2vlm.data.batch import Batch, HostBatch
from x2vlm.models.contexts import Visual, feature, sentence_context, visual_context
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.layers.shape_rounding import ladder_of, round_up
from x2vlm.models.module_checks import call_tower
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch, TextStates, is_parallel
from x2vlm.models.region_patches import encodes_regions
from x2vlm.models.temporal import add_frame_positions


class TextIds(NamedTuple):
    """Texts to be encoded.

    Attributes:
        ids: ``[B, L]`` long.
        mask: ``[B, L]`` bool, or ``[B, L, L]``.
        positions: ``[B, L]`` long, counted from 0, where tokens do not follow one another.
        host_mask: ``mask`` in main memory, an array, where it is ``[B, L]``.
        has_feature: Whether their features in the shared space are computed.
        source: Name of the texts within this pass.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor | None = None
    host_mask: np.ndarray | None = None
    has_feature: bool = False
    source: str | None = None


def encode_batches(model: Any, batches: Mapping[str, Batch], needs: Mapping[str, Needs]) -> dict[str, EncodedBatch]:
    """Encode several batches: images of one size in one pass, texts too.

    Args:
        model: The model: its towers and projections.
        batches: By stream.
        needs: Of the objectives of each stream.
    """
    needs = {stream: needs[stream].resolved(is_parallel(batch)) for stream, batch in batches.items()}
    # Texts before images, so that the backward pass reaches the images first: it frees their activations, the
    # largest, before it computes the gradients of the text encoder.
    text_ids = {
        (stream, kind): ids
        for stream, batch in batches.items()
        for kind, ids in _texts_of(model, stream, batch, needs[stream]).items()
    }
    texts = encode_texts(model, text_ids)
    visual = _encode_images(model, {s: b for s, b in batches.items() if _has_images(model, b, needs[s])})
    words = None if model.text_encoder is None else model.text_encoder.word_embeddings
    encoded = {}
    for stream, batch in batches.items():
        context = None
        if stream in visual:
            has_feature = needs[stream].features
            context = visual_context(model, batch, visual[stream], has_feature, f"images of {stream}")
        elif (stream, "context") in texts:
            context = sentence_context(batch, texts[stream, "context"])
        masked_patches = batch.masked_patches if needs[stream].masked_image else None
        encoded[stream] = EncodedBatch(
            batch=batch,
            text=texts.get((stream, "text")),
            masked_text=texts.get((stream, "masked")),
            context=context,
            temperature=model.temperature,
            word_embeddings=words,
            masked_image=None if masked_patches is None else encode_pixels(model, batch.pixels, masked_patches),
        )
    return encoded


def _texts_of(model: Any, stream: str, batch: Batch, needs: Needs) -> dict[str, TextIds]:
    """The texts of a batch that go through the text encoder."""
    if model.text_encoder is None:
        return {}
    host, parallel, texts = batch.on_host(), is_parallel(batch), {}
    if batch.text_ids is not None and needs.text:
        mask = batch.text_mask, None, host.text_mask
        texts["text"] = TextIds(batch.text_ids, *mask, needs.features, f"text of {stream}")
    if batch.masked_ids is not None and needs.masked_text:
        texts["masked"] = TextIds(batch.masked_ids, *_masks_of_masked(batch, host), False, f"masked text of {stream}")
    if parallel and needs.reads_context:
        mask = batch.context_text_mask, None, host.context_text_mask
        texts["context"] = TextIds(batch.context_ids, *mask, needs.features, f"sentences of {stream}")
    return texts


def _masks_of_masked(batch: Batch, host: HostBatch) -> tuple[Tensor, Tensor | None, np.ndarray | None]:
    """Mask, positions, and mask in main memory of the masked texts."""
    if batch.masked_mask is not None:
        return batch.masked_mask, batch.masked_text_positions, None
    if is_parallel(batch):
        return batch.context_text_mask[batch.owner], None, host.context_text_mask[host.owner]
    return batch.text_mask, None, host.text_mask


def encode_texts(model: Any, texts: Mapping[Any, TextIds]) -> dict[Any, TextStates]:
    """Encode texts by key; those with a mask ``[B, L]`` in one pass."""
    together = {key: text for key, text in texts.items() if text.mask.dim() == 2 and text.positions is None}
    separate = {key: encode_text(model, text) for key, text in texts.items() if key not in together}
    if len(together) < 2:
        return separate | {key: encode_text(model, text) for key, text in together.items()}
    length, pad = max(text.ids.shape[1] for text in together.values()), getattr(model.text_encoder, "pad_token_id", 0)
    ids, masks, host_masks = [], [], []
    for text in together.values():
        room = (0, length - text.ids.shape[1])
        ids.append(F.pad(text.ids, room, value=pad))
        masks.append(F.pad(text.mask, room, value=False))
        host_masks.append(None if text.host_mask is None else np.pad(text.host_mask, ((0, 0), room)))
    host_mask = None if any(mask is None for mask in host_masks) else np.concatenate(host_masks)
    embeds = _embed(model, TextIds(torch.cat(ids), torch.cat(masks), None, host_mask))
    parts = embeds.split([len(text.ids) for text in together.values()])
    keyed_parts = zip(together.items(), parts, strict=True)
    return separate | {key: _states(model, text, part[:, : text.ids.shape[1]]) for (key, text), part in keyed_parts}


def encode_text(model: Any, text: TextIds, cache: KVCache | None = None) -> TextStates:
    """Encode one batch of texts.

    Args:
        model: The model.
        text: The texts.
        cache: Keys and values of earlier tokens of these texts, for an encoder that takes a ``cache``; is extended.
    """
    return _states(model, text, _embed(model, text, cache))


def _embed(model: Any, text: TextIds, cache: KVCache | None = None) -> Tensor:
    """``[B, L, D]``; optional arguments are passed to encoders that accept them."""
    optional, accepted = {}, signature(model.text_encoder.forward).parameters
    if text.positions is not None:
        optional["positions"] = text.positions + getattr(model.text_encoder, "first_position", 0)
    for name, value in (("host_mask", text.host_mask), ("cache", cache)):
        if value is not None and name in accepted:
            optional[name] = value
    return call_tower(model.text_encoder, text.ids, text.mask, **optional)


def _states(model: Any, text: TextIds, embeds: Tensor) -> TextStates:
    at = None
    if getattr(model.text_encoder, "summary", "first") == "last":
        real = text.mask if text.mask.dim() == 2 else text.mask.diagonal(dim1=1, dim2=2)
        at = real.shape[1] - 1 - real.flip(1).long().argmax(dim=1)  # the last real token
    states = TextStates(embeds, text.mask, None, text.host_mask, text.source, at)
    return replace(states, feat=feature(model.text_proj, states.summary)) if text.has_feature else states


def _has_images(model: Any, batch: Batch, needs: Needs) -> bool:
    return batch.pixels is not None and model.vision_encoder is not None and needs.reads_context


def _encode_images(model: Any, batches: Mapping[str, Batch]) -> dict[str, Visual | None]:
    """Encode images of one size in one pass, clips batch by batch; None where regions are encoded separately."""
    sizes: dict[Any, list[str]] = {}
    for stream, batch in batches.items():
        if not encodes_regions(model, batch):
            sizes.setdefault(stream if batch.pixels.dim() == 5 else batch.pixels.shape[1:], []).append(stream)
    encoded: dict[str, Visual | None] = dict.fromkeys(batches)
    for streams in sizes.values():
        pixels = [_padded_images(model, batches[stream].pixels) for stream in streams]
        tokens, summaries = encode_pixels(model, pixels[0] if len(pixels) == 1 else torch.cat(pixels))
        counts = [len(images) for images in pixels]
        encoded |= dict(zip(streams, zip(tokens.split(counts), summaries.split(counts), strict=True), strict=True))
    return encoded


def _padded_images(model: Any, pixels: Tensor) -> Tensor:
    """Images padded with black ones up to a rung of the ladder; no pair owns those."""
    mixes_images = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.vision_encoder.modules())
    if not model.training or mixes_images:
        return pixels
    missing = round_up(len(pixels), ladder_of(model.shapes, pixels.device).groups) - len(pixels)
    return torch.cat([pixels, pixels.new_zeros(missing, *pixels.shape[1:])]) if missing else pixels


def encode_pixels(model: Any, pixels: Tensor, masked_patches: Tensor | None = None) -> Visual:
    """Images ``[U, 3, H, W]`` or clips ``[U, F, 3, H, W]`` -> tokens ``[U, N, D]`` and summaries ``[U, D]``.

    A clip is the mean over its frames of patches plus frame position (arXiv:2211.12402v1, Sec. 3.2, "Video
    Representation"), so it has the shape of one image; or what the model's ``temporal_encoder`` makes of them.

    Args:
        model: The model.
        pixels: Images or clips.
        masked_patches: ``[U, N]`` bool, patches that are hidden from the vision encoder.

    Raises:
        ValueError: If a clip has more frames than ``num_frames``, or patches cannot be masked.
    """
    if masked_patches is not None:
        tokens, summary = _encode_masked(model.vision_encoder, pixels, masked_patches)
        return tokens, tokens.mean(dim=1) if summary is None else summary
    if pixels.dim() == 4:
        tokens, summary = call_tower(model.vision_encoder, pixels)
        return tokens, tokens.mean(dim=1) if summary is None else summary
    clips, frames = pixels.shape[:2]
    if frames > model.num_frames:
        given = model.num_frames
        raise ValueError(f"a clip has {frames} frames but model.num_frames is {given}. Raise model.num_frames.")
    tokens, summary = call_tower(model.vision_encoder, pixels.flatten(0, 1))
    tokens = tokens.unflatten(0, (clips, frames))
    summary = tokens.mean(dim=2) if summary is None else summary.unflatten(0, (clips, frames))
    return model.temporal_encoder(*add_frame_positions(tokens, summary, model.frame_positions))


def _encode_masked(encoder: nn.Module, pixels: Tensor, masked_patches: Tensor) -> tuple[Tensor, Tensor | None]:
    if pixels.dim() != 4:
        raise ValueError("patches of clips cannot be masked, only those of images. Take 'mim' from the video stream.")
    if "masked_patches" not in signature(encoder.forward).parameters:
        raise ValueError(
            f"{type(encoder).__name__} cannot mask patches: its forward takes no masked_patches. "
            "Use BEiT2(mask_token=True)."
        )
    return call_tower(encoder, pixels, masked_patches=masked_patches)
