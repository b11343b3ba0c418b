"""The same drawn scenes with the published fusion encoder and objectives, and phrases with boxes as a second stream.

x2vlm train plugins/nlvr_shapes/config_cross_attention.py --work-dir work_dirs/nlvr_shapes
"""

from mmengine.config import read_base

with read_base():
    from ...configs.base.adamw import *
    from ...configs.base.runtime import *

data_root = "data/nlvr_v1"
tokenizer = dict(type="BertVocab", vocab="nlvr_vocab.txt")
model = dict(
    type="X2VLM",
    vision_encoder=dict(
        type="ConvStemEncoder", image_size=(100, 340), width=96, depth=1, num_heads=3, channels=(16, 32)
    ),
    text_encoder=dict(
        type="HFTextEncoder",
        config=dict(
            model_type="bert",
            hidden_size=96,
            num_hidden_layers=1,
            num_attention_heads=3,
            intermediate_size=384,
            max_position_embeddings=64,
            initializer_range=0.1,  # about 1 / sqrt(width)
        ),
        dropout=0.0,
    ),
    fusion_encoder=dict(type="CrossAttentionFusion", depth=3, num_heads=3, dropout=0.0, init_std=0.1),
    objectives=dict(
        classification=dict(type="Classification", num_classes=2),
        itc=dict(type="ITC", positives="ids_and_texts"),
        itm=dict(type="ITM", positives="ids_and_texts"),
        mlm=dict(type="MLM"),
        bbox=dict(type="BBox", l1_weight=12.0, giou_weight=5.0),
    ),
    embed_dim=64,
    num_frames=0,
)
streams = dict(
    statement=dict(
        dataset=dict(
            type="NlvrShapes",
            kind="statements",
            num_scenes=1_000_000,
            towers=0.7,
            num_statements=16,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="NarrowStrips"),
                dict(type="PickStatements"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=48, masking=None),
        batch_size=12,  # scenes, each with all its statements
        objectives=("classification",),
        weight=1.0,
    ),
    region=dict(
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
    ),
)
evaluations = dict(
    drawn=dict(
        dataset=dict(
            type="NlvrShapes",
            kind="statements",
            num_scenes=150,
            seed=2,
            num_statements=8,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="NarrowStrips"),
                dict(type="PickStatements"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=48, masking=None),
        metric=dict(type="ClassificationMetric"),
        batch_size=50,
    ),
)
train_cfg = dict(type="MixedTrainLoop", max_iters=800, val_interval=200)
optim_wrapper.optimizer.lr = 1.5e-3
default_hooks.checkpoint.interval = 50
default_hooks.logger.interval = 10
