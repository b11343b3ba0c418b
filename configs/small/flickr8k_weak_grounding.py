"""Phrases of Flickr8k grounded without boxes: matched with whole photographs, found by Grad-CAM among their things.

python -m plugins.real_towers.store_features configs/small/flickr8k_weak_grounding.py \
    --cfg-options data_root=data/flickr8k
python tools/train.py configs/small/flickr8k_weak_grounding.py --cfg-options data_root=data/flickr8k

No box is seen in training. Proposals are the boxes of all phrases of a photograph.
"""

from mmengine.config import read_base

with read_base():
    from .flickr8k_warm_start import *

# A phrase is a text of its photograph, and matching, with any others as negatives, is all that is learned.
phrase = streams.region
phrase.pop("max_images")
phrase.update(batch_size=96, objectives=("itm",))
phrase.dataset.pipeline = [
    dict(type="LoadFeatures", folder="features/train", network="tf_efficientnet_lite2"),
    dict(type="RegionsAsCaptions"),
    dict(type="PickCaption", max_words=30),
    dict(type="PackFeatures"),
]
streams = dict(phrase=phrase)
model.objectives = dict(itm=dict(type="ITM", positives="ids_and_texts", hardness=0))

evaluations.pop("retrieval")
evaluations.grounding.metric = dict(type="GradCamGroundingMetric")

train_cfg = dict(type="MixedTrainLoop", max_iters=400, val_interval=200)
param_scheduler = dict(type="WarmupLinear", warmup=0.1)
default_hooks.checkpoint.interval = 200
