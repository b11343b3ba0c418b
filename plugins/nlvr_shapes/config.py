"""Drawn scenes of NLVR v1's geometry: true or false statements of a small grammar, after `config_first.py`.

x2vlm train plugins/nlvr_shapes/config.py --work-dir work_dirs/nlvr_shapes \
    --cfg-options load_from=work_dirs/nlvr_first/iter_600.pth
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
    fusion_encoder=dict(type="CountingFusion", grid=(5, 17), batch_statistics=False),
    objectives=dict(classification=dict(type="Classification", num_classes=2)),
    embed_dim=None,
    num_frames=0,
)
pipeline = [
    dict(type="LoadImage"),
    dict(type="NarrowStrips"),
    dict(type="PickStatements"),
    dict(type="PackSample"),
]
collate = dict(type="PairCollate", max_tokens=48, masking=None)
streams = dict(
    statement=dict(
        dataset=dict(
            type="NlvrShapes",
            num_scenes=1_000_000,
            num_statements=16,
            towers=0.65,
            pipeline=pipeline,
        ),
        collate=collate,
        batch_size=12,  # scenes, each with all its statements
        shuffle=False,  # both scenes of a pair come in one batch
        objectives=("classification",),
        weight=1.0,
    ),
)
evaluations = dict(
    drawn=dict(
        dataset=dict(
            type="NlvrShapes",
            num_scenes=150,
            seed=2,
            num_statements=8,
            pipeline=pipeline,
        ),
        collate=collate,
        metric=dict(type="ClassificationMetric"),
        batch_size=50,
    ),
)
train_cfg = dict(type="MixedTrainLoop", max_iters=1500, val_interval=250)
optim_wrapper.optimizer.lr = 4e-4
default_hooks.checkpoint.interval = 50
default_hooks.logger.interval = 10
param_scheduler = dict(type="WarmupLinear", warmup=30)
