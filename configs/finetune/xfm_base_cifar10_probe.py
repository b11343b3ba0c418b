"""X-FM base, linear probe: CIFAR-10, as a folder of images for each class; learning rate 2e-5 down to 0.

Published: random crops and mirroring alone, the middle 224 of 288 pixels in the test, normalised to -1..1. Other data
sets are this config with another `data_root` and number of classes.
"""

from mmengine.config import read_base

with read_base():
    from .xfm_base_imagenet_probe import *

data_root = "data/cifar10"
middle = (0.5, 0.5, 0.5)
model.objectives.classification.num_classes = 10
streams.image.dataset.pipeline = [
    dict(type="LoadImage"),
    dict(type="PickLabel"),
    dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0)),
    dict(type="Flip"),
    dict(type="PackSample", mean=middle, std=middle),
]
evaluations.val.dataset.pipeline = [
    dict(type="LoadImage"),
    dict(type="PickLabel"),
    dict(type="CenterCrop", size=224, share=224 / 288),
    dict(type="PackSample", mean=middle, std=middle),
]
optim_wrapper.optimizer.lr = 2e-5
param_scheduler.min_factor = 0.0
