"""The same drawn scenes with the published fusion encoder and objectives, and phrases with boxes as a second stream.

x2vlm train plugins/nlvr_shapes/config_cross_attention.py --work-dir work_dirs/nlvr_cross_attention
"""

from mmengine.config import read_base

with read_base():
    from .config import *

model.fusion_encoder = dict(type="CrossAttentionFusion", depth=3, num_heads=3, dropout=0.0, init_std=0.1)
model.objectives.update(
    itc=dict(type="ITC", positives="ids_and_texts"),
    itm=dict(type="ITM", positives="ids_and_texts"),
    mlm=dict(type="MLM"),
    bbox=dict(type="BBox", l1_weight=12.0, giou_weight=5.0),
)
model.embed_dim = 64
streams.region = dict(
    dataset=dict(
        type="NlvrShapes",
        kind="phrases",
        num_scenes=1_000_000,
        seed=1,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="NarrowStrips"),
            dict(type="PickRegions", max_regions=6, training=False),
            dict(type="PackSample"),
        ],
    ),
    collate=dict(type="PairCollate", max_tokens=24, masking=dict(prob=0.3, max_masks=6)),
    batch_size=16,  # phrases
    max_images=4,
    objectives=("itc", "itm", "mlm", "bbox"),
    weight=0.25,
)
train_cfg.max_iters = 800
train_cfg.val_interval = 200
optim_wrapper.optimizer.lr = 1.5e-3
