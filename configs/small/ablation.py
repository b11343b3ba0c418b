"""What regions and objects add on photographs: the base of the ablations, a shorter warm start with a fixed text tower.

python -m plugins.real_towers.store_features configs/small/ablation.py --cfg-options data_root=data/flickr8k
x2vlm ablate configs/small/ablation.py configs/small/ablation_no_*.py --seeds 5 --cfg-options data_root=data/flickr8k

Both towers are fixed, so that a run takes minutes and five seeds of six configs an afternoon. Streams: captions of
photographs, phrases with boxes (regions), and COCO's boxes (objects).
"""

from mmengine.config import read_base

with read_base():
    from .flickr8k_warm_start import *

model.frozen = ("text_encoder",)
streams.image.batch_size = 64
streams.image.objectives = ("itc",)
model.objectives.pop("itm")
streams.region.batch_size = 64
streams.region.max_images = 24
streams.object = dict(
    dataset=dict(
        type="Coco",
        image_root="../coco/images",
        instances_file="../coco/instances.json",
        require=("boxes",),
        pipeline=[
            dict(type="LoadFeatures", folder="features/coco", network="tf_efficientnet_lite2"),
            dict(type="PickRegions", max_regions=4, training=False),
            dict(type="PackFeatures"),
        ],
    ),
    collate=dict(type="PairCollate", max_tokens=40, masking=None),
    batch_size=24,
    max_images=12,
    objectives=("itc", "bbox"),
)
evaluations.retrieval.metric.update(rerank=False, cosine_weight=0.0)

train_cfg.max_iters = train_cfg.val_interval = 200
param_scheduler = dict(type="WarmupLinear", warmup=0.1)
default_hooks.checkpoint.interval = 200
