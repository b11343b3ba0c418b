"""Without the box loss. No box is predicted then, so grounding cannot be measured."""

from mmengine.config import read_base

with read_base():
    from .ablation import *

model.objectives.pop("bbox")
evaluations.pop("grounding")
