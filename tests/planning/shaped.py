"""One tiny model, as shapes for the formulas and as modules to measure."""

import torch

from x2vlm.data.batch import Batch
from x2vlm.models.x2vlm import X2VLM
from x2vlm.planning.model_shapes import FusionShape, Load, ModelShape, TextShape, VisionShape

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


def batch(load: Load) -> Batch:
    """A batch of ``load``; where there are boxes, every second pair is about a part of its picture."""
    rng = torch.Generator().manual_seed(0)
    pairs, frames = load.pairs, (load.frames,) if load.frames > 1 else ()
    ids = torch.randint(5, 211, (pairs, load.tokens), generator=rng)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]).repeat(pairs, 1)[:pairs]
    return Batch(
        text_ids=ids,
        text_mask=torch.ones_like(ids, dtype=torch.bool),
        pixels=torch.randn(load.contexts, *frames, 3, 64, 48, generator=rng),
        owner=torch.arange(pairs) % load.contexts,
        boxes_xyxy=boxes if "bbox" in load.objectives else None,
        has_box=boxes[:, 2] < 1 if "bbox" in load.objectives else None,
        ids=torch.arange(pairs),
        masked_ids=ids.clone(),
        mlm_positions=torch.randint(1, load.tokens, (pairs, load.masks), generator=rng),
        mlm_labels=ids[:, : load.masks].clone(),
        where=["here"] * pairs,
        texts=["a text"] * pairs,
    )
