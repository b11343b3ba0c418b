"""Without objects and regions: photographs and their captions alone."""

from mmengine.config import read_base

with read_base():
    from .ablation import *

streams.pop("region")
streams.pop("object")
model.objectives.pop("bbox")
evaluations.pop("grounding")
