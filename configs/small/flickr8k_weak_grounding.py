"""Phrases of Flickr8k grounded without boxes: matched with whole photographs, found by Grad-CAM among their things.

python tools/train.py configs/small/ablation_no_objects_no_regions.py --work-dir work_dirs/captions \
    --cfg-options data_root=data/flickr8k
python tools/train.py configs/small/flickr8k_weak_grounding.py --work-dir work_dirs/weak_grounding \
    --cfg-options data_root=data/flickr8k load_from=work_dirs/captions/iter_200.pth

No box and no region is seen in training, in either part. Proposals are the boxes of all phrases of a photograph.
"""

from mmengine.config import read_base

with read_base():
    from .flickr8k_matching import *

streams.pop("region")
model.objectives.pop("bbox")
evaluations.pop("retrieval")
evaluations.grounding.metric = dict(type="GradCamGroundingMetric", layer=0)
train_cfg.max_iters = train_cfg.val_interval = 300
