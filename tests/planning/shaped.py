"""One tiny model, as shapes for the formulas and as modules to measure."""

import torch

from x2vlm.data.batch import Batch
from x2vlm.models.x2vlm import X2VLM
from x2vlm.planning.model_shapes import BatchShape, FusionShape, ModelShape, TextShape, VisionShape

ALL = ("itc", "itm", "mlm", "bbox")


def shape(width=96, fusion=True, objectives=ALL, num_frames=0, tied=True) -> ModelShape:
    """What ``model`` has with the same arguments."""
    return ModelShape(
        VisionShape(width, 3, 3, 8, 6, 8),
        TextShape(width, 2, 3, 2 * width, 211, 32, 2),
        FusionShape(width, width, 2, 3, 2 * width) if fusion else None,
        embed_dim=16,
        num_frames=num_frames,
        objectives=objectives,
        tied=tied,
        dropout=False,
    )


def model(width=96, fusion=True, objectives=ALL, num_frames=0, tied=True, checkpointing=False) -> X2VLM:
    """A model of three vision, two text and two fusion layers, without dropout."""
    types = {"itc": "ITC", "itm": "ITM", "mlm": "MLM", "bbox": "BBox"}
    parts = {name: {"type": types[name]} for name in objectives}
    if "mlm" in parts:
        parts["mlm"]["tied"] = tied
    vision = {"type": "BEiT2", "image_size": (64, 48), "patch_size": 8, "width": width, "depth": 3, "num_heads": 3}
    text = {
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 2 * width,
        "vocab_size": 211,
        "max_position_embeddings": 32,
    }
    fused = {"type": "CrossAttentionFusion", "depth": 2, "num_heads": 3, "mlp_width": 2 * width, "dropout": 0.0}
    return X2VLM(
        vision | {"drop_path": 0.0},
        {"type": "HFTextEncoder", "config": text, "dropout": 0.0},
        fused if fusion else None,
        parts,
        embed_dim=16,
        num_frames=num_frames,
        activation_checkpointing=checkpointing,
    )


def batch(size: BatchShape) -> Batch:
    """A batch of ``size``; where there are boxes, every second pair is about a region of its image."""
    rng = torch.Generator().manual_seed(0)
    pairs, frames = size.pairs, (size.frames,) if size.frames > 1 else ()
    ids = torch.randint(5, 211, (pairs, size.tokens), generator=rng)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]).repeat(pairs, 1)[:pairs]
    return Batch(
        text_ids=ids,
        text_mask=torch.ones_like(ids, dtype=torch.bool),
        pixels=torch.randn(size.contexts, *frames, 3, 64, 48, generator=rng),
        owner=torch.arange(pairs) % size.contexts,
        boxes_xyxy=boxes if "bbox" in size.objectives else None,
        has_box=boxes[:, 2] < 1 if "bbox" in size.objectives else None,
        ids=torch.arange(pairs),
        masked_ids=ids.clone(),
        mlm_positions=torch.randint(1, size.tokens, (pairs, size.masks), generator=rng),
        mlm_labels=ids[:, : size.masks].clone(),
        where=["here"] * pairs,
        texts=["a text"] * pairs,
    )
