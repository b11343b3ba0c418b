"""X-FM base, linear probe: CIFAR-100, as CIFAR-10 with another folder and number of classes."""

from mmengine.config import read_base

with read_base():
    from .xfm_base_cifar10_probe import *

data_root = "data/cifar100"
model.objectives.classification.num_classes = 100
