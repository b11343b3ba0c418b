"""Flickr8k on two cores, second part: contrast and boxes go on, at rates for weights that know something.

python tools/train.py configs/small/flickr8k_warm_start.py --work-dir work_dirs/warm_start \
    --cfg-options data_root=data/flickr8k
python tools/train.py configs/small/flickr8k.py --work-dir work_dirs/flickr8k \
    --cfg-options data_root=data/flickr8k load_from=work_dirs/warm_start/iter_400.pth

Matching, which re-ranks what the cosine has found, is learned after that (flickr8k_matching.py).
"""

from mmengine.config import read_base

with read_base():
    from .flickr8k_warm_start import *

model.objectives.pop("itm")
streams.image.objectives = ("itc",)
streams.region.batch_size = 128
streams.region.max_images = 48
evaluations.retrieval.metric.update(rerank=False, cosine_weight=0.0)
train_cfg.max_iters = 600
train_cfg.val_interval = 600
param_scheduler = dict(type="WarmupLinear", warmup=0.1)
randomness.seed = 1  # other captions and views of the photographs than in the first part
# Nothing is new any more, so the towers are named: what came with weights still learns more slowly.
optim_wrapper.optimizer.lr = 5e-4
optim_wrapper.paramwise_cfg = dict(vision_lr=5e-4, text_lr=1e-4, cross_lr=3e-4)
