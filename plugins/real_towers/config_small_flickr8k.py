"""Flickr8k on two cores."""

from mmengine.config import read_base

with read_base():
    from ...configs.base.adamw import *
    from ...configs.base.flickr8k_data import *
    from ...configs.base.runtime import *

tokenizer = dict(type="MiniLMTokenizer")
_train_features = dict(type="LoadFeatures", folder="features/train")
_val_features = dict(type="LoadFeatures", folder="features/val", training=False)
_pack = dict(type="PackFeatures")

model = dict(
    type="X2VLM",
    vision_encoder=dict(type="FrozenEfficientNetLite", variant=2, image_size=224, width=384, depth=1),
    text_encoder=dict(type="MiniLM", mean_summary=True),
    fusion_encoder=dict(type="CrossAttentionFusion", depth=3, num_heads=6, mlp_width=768, init_std=0.05),
    objectives=dict(
        itc=dict(type="ITC", positives="ids_and_texts"),
        itm=dict(type="ITM", positives="ids_and_texts"),
        mlm=dict(type="MLM"),
        bbox=dict(type="BBox", l1_weight=5.0, giou_weight=2.0),
    ),
    embed_dim=256,
    temperature=0.05,
)

streams.image.dataset.pipeline = [_train_features, dict(type="PickCaption", max_words=30), _pack]
streams.image.batch_size = 128
streams.image.objectives = ("itc", "itm")
streams.region.dataset.pipeline = [
    _train_features,
    dict(type="PickRegions", max_regions=4, training=False),
    _pack,
]
streams.region.batch_size = 192
streams.region.max_images = 64
streams.region.objectives = ("itc", "itm", "mlm", "bbox")

evaluations.retrieval.dataset.pipeline = [_val_features, dict(type="AllCaptions", max_words=30), _pack]
evaluations.retrieval.batch_size = 64
evaluations.grounding.dataset.pipeline = [_val_features, dict(type="PickPhrases"), _pack]
evaluations.grounding.batch_size = 64

train_cfg = dict(type="MixedTrainLoop", max_iters=600, val_interval=200)
optim_wrapper.optimizer.lr = 5e-5
optim_wrapper.paramwise_cfg = dict(lr_mult=10)
default_hooks.checkpoint.interval = 200
default_hooks.logger.interval = 20
