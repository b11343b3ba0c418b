"""Flickr8k on two cores, third part: matching, with the towers as flickr8k.py left them (which see).

python tools/train.py configs/small/flickr8k_matching.py --work-dir work_dirs/matching \
    --cfg-options data_root=data/flickr8k load_from=work_dirs/flickr8k/iter_600.pth

The towers and their shared space are fixed, so that cosines stay as they are and a step costs little: all captions of
a batch are matched, against easy and hard negatives. Boxes go on with little weight, or the fusion encoder would
forget them. Beside contrast and boxes of full weight matching learns slowly (docs/results.md).
"""

from mmengine.config import read_base

with read_base():
    from .flickr8k import *

model.frozen = ("vision_encoder", "text_encoder", "vision_proj", "text_proj", "temperature")
model.objectives.pop("itc")
model.objectives.itm = dict(type="ITM", positives="ids_and_texts", hardness=(0, 1))
model.objectives.bbox.update(weight=0.05)
loading = dict(allow_missing=["objectives.itm"])  # its head begins here
streams.image.objectives = ("itm",)
streams.region.update(batch_size=48, max_images=16, objectives=("bbox",))
evaluations.retrieval.metric.update(rerank=True, k=16, cosine_weight=20.0)
train_cfg.max_iters = train_cfg.val_interval = 800
default_hooks.checkpoint.interval = 100
randomness.seed = 2
optim_wrapper.optimizer.lr = optim_wrapper.paramwise_cfg.cross_lr = 1e-3
