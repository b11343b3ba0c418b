"""Toy phrases grounded without boxes: trained on images with captions alone, by Grad-CAM over the things of a scene.

python tools/train.py configs/demo/toy_weak_grounding.py --work-dir work_dirs/weak
"""

from mmengine.config import read_base

with read_base():
    from .toy_pretrain import *

model.objectives.pop("bbox")
streams = dict(image=streams.image)
evaluations.grounding.dataset.pipeline[1].kinds = ("object",)
evaluations.grounding.metric = dict(type="GradCamGroundingMetric")  # proposals: the boxes of all things of a scene
evaluations = dict(weak_grounding=evaluations.grounding)
