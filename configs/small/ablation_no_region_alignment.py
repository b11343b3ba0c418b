"""Without alignment of regions and objects: they only teach where things are."""

from mmengine.config import read_base

with read_base():
    from .ablation import *

streams.region.objectives = ("bbox",)
streams.object.objectives = ("bbox",)
