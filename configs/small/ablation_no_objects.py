"""Without objects."""

from mmengine.config import read_base

with read_base():
    from .ablation import *

streams.pop("object")
