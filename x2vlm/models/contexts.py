"""Contexts from the outputs of the towers: images, regions, clips, and sentences in another language.

Shape letters: B pairs, U distinct contexts, N patches, D width, E embed_dim.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2vlm.data.batch import Batch
from x2vlm.models.outputs import Context, TextStates
from x2vlm.models.region_patches import attends_whole_image, mean_of_masked_patches, patch_mask

Visual = tuple[Tensor, Tensor]  # tokens [U, N, D], summaries [U, D]


def visual_context(
    model: Any, batch: Batch, encoded: Visual | None, has_feature: bool = True, source: str | None = None
) -> Context:
    """Images or clips as contexts of their pairs.

    Args:
        model: The model.
        batch: The batch.
        encoded: Output of the vision encoder for its pixels; None where it encodes regions separately.
        has_feature: Whether their features in the shared space are computed.
        source: Name of the tokens within this pass.
    """
    project = model.vision_proj if has_feature else None
    if encoded is None:
        return _context_with_regions(model, batch, project, source)
    owner, host, (tokens, summaries) = batch.owner, batch.on_host(), encoded
    shared = {"summaries": summaries, "host_owner": host.owner, "source": source}
    if attends_whole_image(host).all():
        mask = tokens.new_ones(len(owner), tokens.shape[1], dtype=torch.bool)
        feat = feature(project, summaries)
        feat = None if feat is None else feat[owner]
        return Context(tokens, owner, mask, summaries[owner], feat, sees_whole=True, **shared)
    mask = patch_mask(model, batch)
    summary = torch.where(mask.all(dim=1, keepdim=True), summaries[owner], mean_of_masked_patches(tokens, owner, mask))
    return Context(tokens, owner, mask, summary, feature(project, summary), **shared)


def _context_with_regions(model: Any, batch: Batch, project: nn.Module | None, source: str | None) -> Context:
    """Contexts with separate tokens for regions, after those of the images; pairs of whole images share the latter."""
    owner, mask, host = batch.owner, patch_mask(model, batch), batch.on_host()
    regions = np.flatnonzero(~attends_whole_image(host))
    host_owner = host.owner.copy()
    host_owner[regions] = len(batch.pixels) + np.arange(len(regions))
    regions, owner_of_tokens = (
        torch.from_numpy(one).to(owner.device, non_blocking=True) for one in (regions, host_owner)
    )
    tokens, summaries = model.vision_encoder.encode_regions(batch.pixels, owner[regions], mask[regions])
    summary = summaries[owner_of_tokens]
    feat = feature(project, summary)
    shared = {"host_owner": host_owner, "host_whole_owner": host.owner, "source": source}
    return Context(tokens, owner_of_tokens, mask, summary, feat, summaries, owner, **shared)


def sentence_context(batch: Batch, sentences: TextStates) -> Context:
    """The other language's sentences in the place of images, [CLS] in that of the summary (arXiv:2206.00621)."""
    owner, summaries, (tokens, masks) = batch.owner, sentences.summary, sentences.without_summary()
    return Context(
        tokens,
        owner,
        masks[owner],
        summaries[owner],
        None if sentences.feat is None else sentences.feat[owner],
        summaries,
        sees_whole=True,
        masks=masks,
        host_owner=batch.on_host().owner,
        source=sentences.source,
    )


def feature(projection: nn.Module | None, summary: Tensor) -> Tensor | None:
    """``[B, D]`` -> ``[B, E]`` in the shared space, L2-normalised, if there is one."""
    return None if projection is None else F.normalize(projection(summary), dim=-1)
