"""The models and batches that are measured: as large as published, or tiny for tests."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.data.batch import Batch
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.models.x2vlm import X2VLM

MASK_ID, FIRST_WORD = 4, 5
MASKS = 12  # masked tokens of a text, at most
OBJECTIVES = {
    "itc": {"type": "ITC", "positives": "pairs"},
    "itm": {"type": "ITM", "positives": "pairs"},
    "mlm": {"type": "MLM"},
    "bbox": {"type": "BBox"},
}


@dataclass(frozen=True)
class Size:
    """Sizes of the models and inputs.

    Attributes:
        width: Of all towers.
        depth: Layers of the vision and the text encoder.
        fusion_depth: Layers of the fusion encoder and of the answer decoder.
        vocab_size: Number of words.
        patch: Side of a patch in pixels.
        image: Side of an image in pre-training, in pixels.
        large: Side of an image in retrieval.
        caption: Side of an image in captioning.
        k: Candidates of a query in re-ranking.
        answers: Candidates among the answers of which ``ranked`` are ranked as a whole.
        ranked: See ``answers``.
        words: Tokens of a written caption.
    """

    width: int = 768
    depth: int = 12
    fusion_depth: int = 6
    vocab_size: int = 30522
    patch: int = 16
    image: int = 224
    large: int = 384
    caption: int = 480
    k: int = 80
    answers: int = 3128
    ranked: int = 128
    words: int = 20


SIZES = {"base": Size(), "tiny": Size(32, 2, 2, 200, 8, 32, 48, 64, 8, 60, 12, 6)}


def make_model(
    size: Size, image: int, objectives: dict[str, Any] | None = None, dropout: float = 0.1, frames: int = 0
) -> X2VLM:
    """A model with fresh weights.

    Args:
        size: How large.
        image: Side of its images, in pixels.
        objectives: Those of pre-training where not given.
        dropout: In all towers (0 also means no stochastic depth).
        frames: Of a clip; 0 where there are none.
    """
    torch.manual_seed(0)
    text = {"model_type": "bert", "hidden_size": size.width, "num_hidden_layers": size.depth}
    text |= {"num_attention_heads": max(1, size.width // 64), "intermediate_size": 4 * size.width}
    return X2VLM(
        vision_encoder={
            "type": "BEiT2",
            "image_size": image,
            "patch_size": size.patch,
            "width": size.width,
            "depth": size.depth,
            "drop_path": dropout,
        },
        text_encoder={"type": "HFTextEncoder", "config": text, "dropout": dropout},
        fusion_encoder={"type": "CrossAttentionFusion", "depth": size.fusion_depth, "dropout": dropout},
        objectives=objectives or OBJECTIVES,
        num_frames=frames,
        tokenizer=bert_vocab([f"word{i}" for i in range(size.vocab_size - FIRST_WORD)]),
    )


def texts(size: Size, count: int, tokens: int, seed: int) -> dict[str, Tensor]:
    """``count`` texts of ``tokens`` tokens, half of them masked, ``MASKS`` at most."""
    num_masked = min(MASKS, tokens // 2)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(FIRST_WORD, size.vocab_size, (count, tokens), generator=generator)
    positions = torch.stack([1 + torch.randperm(tokens - 1, generator=generator)[:num_masked] for _ in range(count)])
    return {
        "text_ids": ids,
        "text_mask": torch.ones(count, tokens, dtype=torch.bool),
        "masked_ids": ids.scatter(1, positions, MASK_ID),
        "mlm_positions": positions,
        "mlm_labels": ids.gather(1, positions),
    }


def pixels(count: int, side: int, frames: int = 0) -> Tensor:
    """Images ``[count, 3, side, side]``, or clips ``[count, frames, 3, side, side]``, of noise."""
    shape = (count, frames, 3, side, side) if frames else (count, 3, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def image_batch(size: Size, count: int, frames: int = 0, tokens: int = 12) -> Batch:
    """Images (or clips), each with a caption."""
    index = torch.arange(count)
    return Batch(**texts(size, count, tokens, seed=1), pixels=pixels(count, size.image, frames), owner=index, ids=index)


def region_batch(size: Size, count: int, images: int) -> Batch:
    """Phrases of 5 tokens, each with a box in one of the images."""
    generator = torch.Generator().manual_seed(4)
    extent = 0.2 + 0.5 * torch.rand(count, 2, generator=generator)
    middle = extent / 2 + (1 - extent) * torch.rand(count, 2, generator=generator)
    return Batch(
        **texts(size, count, 5, seed=2),
        pixels=pixels(images, size.image),
        owner=torch.arange(count) % images,
        boxes_xyxy=cxcywh_to_xyxy(torch.cat([middle, extent], dim=1)).clamp(0, 1),
        has_box=torch.ones(count, dtype=torch.bool),
        ids=torch.arange(count),
    )


def ragged(tokens: Tensor, longest: int) -> Tensor:
    """``[B]`` lengths -> ``[B, longest]`` bool."""
    return torch.arange(longest)[None] < tokens[:, None]
