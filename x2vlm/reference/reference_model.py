"""The reference path: the published computation with the weights of a model, without the library's optimisations.

Texts are padded to the most tokens allowed, every pair has its own copy of its image's patches and projects keys and
values from it, matching runs in two passes, the negatives are drawn one by one, the masked texts go through the text
layers again, and attention is an explicit softmax. The numbers are those of the library (tests show it), so that the
time and memory of the two can be compared.

Shape letters: B pairs, U distinct contexts, N patches, L tokens, M masked tokens, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.boxes import cxcywh_to_xyxy, paired_giou, xyxy_to_cxcywh
from x2vlm.boxes_to_patches import boxes_to_patch_mask
from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.batch import Batch
from x2vlm.models.vision.beit2 import BEiT2
from x2vlm.models.x2vlm import X2VLM
from x2vlm.reference.reference_layers import (
    CONTEXT_FORBIDDEN,
    TEXT_FORBIDDEN,
    additive_mask,
    fusion_layer,
    text_layer,
    vision_block,
)


class Tokens(NamedTuple):
    """Embeddings ``[B, L, D]``, the summary first, and bool mask ``[B, L]``, True where attention is allowed."""

    embeds: Tensor
    mask: Tensor


class ReferenceModel:
    """The published computation with the weights of a model.

    Args:
        model: With BEiT-2 (or no vision encoder), a text encoder built like BERT, and cross-attention fusion.
        max_tokens: All texts are padded to so many tokens.
        max_masks: Masked positions of each text, most of them unused.

    Raises:
        ValueError: If there is no reference path for the model's vision encoder.
    """

    def __init__(self, model: X2VLM, max_tokens: int = 40, max_masks: int = 12) -> None:
        if model.vision_encoder is not None and not isinstance(model.vision_encoder, BEiT2):
            kind = type(model.vision_encoder).__name__
            raise ValueError(f"there is a reference path for BEiT2 only, and the vision encoder is {kind}.")
        self.model, self.max_tokens, self.max_masks = model, max_tokens, max_masks

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Images or clips -> ``[U, 1 + N, D]``, the mean of the patches first."""
        net, clips = self.model.vision_encoder.net, pixels.dim() == 5
        x = net.patch_embed(pixels.flatten(0, 1) if clips else pixels)
        x = torch.cat([net.cls_token.expand(len(x), -1, -1), x], dim=1)
        for block in net.blocks:
            x = vision_block(block, x)
        patches = net.norm(x[:, 1:])
        embeds = torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)
        if clips:
            frames = pixels.shape[1]
            embeds = (embeds.unflatten(0, (-1, frames)) + self.model.frame_positions[:, :frames]).mean(dim=1)
        return embeds

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tokens:
        """``[B, L]`` ids and mask -> texts padded to ``max_tokens``."""
        room = self.max_tokens - ids.shape[1]
        ids = F.pad(ids, (0, room), value=self.model.text_encoder.pad_token_id)
        mask = F.pad(mask, (0, room), value=False)
        net, added = self.model.text_encoder.net, additive_mask(mask, TEXT_FORBIDDEN)
        hidden = net.embeddings(input_ids=ids)
        for layer in net.encoder.layer:
            hidden = text_layer(layer, hidden, added)
        return Tokens(hidden, mask)

    def fuse(self, text: Tokens, context: Tokens | None) -> Tensor:
        """``[B, L, D]``: each text with its own context; None runs the layers without cross-attention."""
        hidden, added = text.embeds, additive_mask(text.mask, TEXT_FORBIDDEN)
        context_inputs = (
            (None, None) if context is None else (context.embeds, additive_mask(context.mask, CONTEXT_FORBIDDEN))
        )
        for layer in self.model.fusion_encoder.layer:
            hidden = fusion_layer(layer, hidden, added, *context_inputs)
        return hidden

    def contexts(self, batch: Batch) -> tuple[Tokens | None, Tokens | None]:
        """Context and full context of each pair, with a copy of the patches for every pair; None for plain text."""
        if batch.pixels is None:
            if batch.context_ids is None:
                return None, None
            sentences = self.encode_text(batch.context_ids, batch.context_text_mask)
            context = Tokens(sentences.embeds[batch.owner], sentences.mask[batch.owner])
            return context, context
        images = self.encode_pixels(batch.pixels)
        full = images[batch.owner]
        everything = torch.ones(full.shape[:2], dtype=torch.bool, device=full.device)
        mask = batch.patch_mask
        if mask is None and batch.boxes_xyxy is not None:
            mask = boxes_to_patch_mask(batch.boxes_xyxy, self.model.vision_encoder.grid)
        if mask is None:
            return Tokens(full, everything), Tokens(full, everything)
        share = mask.to(full.dtype) / mask.sum(dim=1, keepdim=True)
        summary = (share[..., None] * full[:, 1:]).sum(dim=1, keepdim=True)
        part = Tokens(torch.cat([summary, full[:, 1:]], dim=1), F.pad(mask, (1, 0), value=True))
        return part, Tokens(full, everything)

    def losses(
        self,
        batch: Batch,
        objectives: Sequence[str] | None = None,
        negatives: tuple[Sequence[int], Sequence[int]] | None = None,
    ) -> dict[str, Tensor]:
        """The losses of pre-training: of ``itc``, ``itm``, ``mlm``, ``bbox``, or of those that are named.

        Args:
            batch: Of images, regions, clips, parallel or plain texts.
            objectives: Names; all of the model where none are given.
            negatives: A wrong context for each text and a wrong text for each context; drawn where not given.
        """
        names = list(self.model.objectives) if objectives is None else list(objectives)
        context, full = self.contexts(batch)
        losses: dict[str, Tensor] = {}
        text = self.encode_text(batch.text_ids, batch.text_mask) if {*names} - {"mlm"} or _is_parallel(batch) else None
        if "itc" in names or "itm" in names:
            feats = self.features(context, text, sentences=_is_parallel(batch))
            if "itc" in names:
                losses["loss_itc"] = self._itc(*feats)
            if "itm" in names:
                negatives = self.draw(*feats) if negatives is None else negatives
                losses["loss_itm"] = self._itm(context, text, *negatives)
        if "mlm" in names:
            losses["loss_mlm"] = self._mlm(batch, context, text)
        if "bbox" in names:
            losses |= self._bbox(batch, full, text)
        return losses

    def features(self, context: Tokens, text: Tokens, sentences: bool = False) -> tuple[Tensor, Tensor]:
        """``[B, E]`` of contexts, which are images or ``sentences``, and of texts."""
        of_contexts = self.model.text_proj if sentences else self.model.vision_proj
        pairs = (of_contexts, context), (self.model.text_proj, text)
        return tuple(F.normalize(project(tokens.embeds[:, 0]), dim=-1) for project, tokens in pairs)

    @torch.no_grad()
    def draw(self, context: Tensor, text: Tensor) -> tuple[list[int], list[int]]:
        """Draw hard negatives by ``[B, E]`` features, one after the other."""
        logits = context @ text.T / self.model.temperature
        wrong_contexts, wrong_texts = logits.T.softmax(dim=1) + 1e-5, logits.softmax(dim=1) + 1e-5
        wrong_contexts.fill_diagonal_(0)
        wrong_texts.fill_diagonal_(0)
        return tuple([torch.multinomial(row, 1).item() for row in rows] for rows in (wrong_contexts, wrong_texts))

    def _itc(self, context: Tensor, text: Tensor) -> Tensor:
        logits, targets = context @ text.T / self.model.temperature, torch.arange(len(text), device=text.device)
        return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

    def _itm(self, context: Tokens, text: Tokens, wrong_contexts: Sequence[int], wrong_texts: Sequence[int]) -> Tensor:
        true = self.fuse(text, context)[:, 0]
        contexts = _concatenate(_select_rows(context, wrong_contexts), context)
        texts = _concatenate(text, _select_rows(text, wrong_texts))
        false = self.fuse(texts, contexts)[:, 0]
        labels = (torch.arange(len(true) + len(false), device=true.device) < len(true)).long()
        return F.cross_entropy(self.model.objectives["itm"].head(torch.cat([true, false])), labels)

    def _mlm(self, batch: Batch, context: Tokens | None, text: Tokens | None) -> Tensor:
        mlm, mask = self.model.objectives["mlm"], batch.text_mask
        if _is_parallel(batch):  # the words of the context sentence are masked, and predicted from the other one
            context, mask = text, batch.context_text_mask[batch.owner]
        hidden = self.fuse(self.encode_text(batch.masked_ids, mask), context)
        room = self.max_masks - batch.mlm_positions.shape[1]
        positions, labels = (
            F.pad(batch.mlm_positions, (0, room)),
            F.pad(batch.mlm_labels, (0, room), value=IGNORE_INDEX),
        )
        chosen = hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))
        scores = mlm.score(chosen, self.model.text_encoder.word_embeddings)
        return F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX)

    def _bbox(self, batch: Batch, full: Tokens, text: Tokens) -> dict[str, Tensor]:
        predicted = self.model.objectives["bbox"].head(self.fuse(text, full)[:, 0]).sigmoid()
        weight = batch.has_box.to(predicted.dtype)
        l1 = (predicted - xyxy_to_cxcywh(batch.boxes_xyxy)).abs().sum(dim=-1)
        giou = paired_giou(cxcywh_to_xyxy(predicted), batch.boxes_xyxy)
        return {
            "loss_bbox": (l1 * weight).sum() / weight.sum(),
            "loss_giou": ((1 - giou) * weight).sum() / weight.sum(),
        }


def _is_parallel(batch: Batch) -> bool:
    return batch.pixels is None and batch.context_ids is not None


def _select_rows(tokens: Tokens, rows: Sequence[int]) -> Tokens:
    return Tokens(torch.stack([tokens.embeds[row] for row in rows]), torch.stack([tokens.mask[row] for row in rows]))


def _concatenate(first: Tokens, second: Tokens) -> Tokens:
    return Tokens(*(torch.cat(both) for both in zip(first, second, strict=True)))
