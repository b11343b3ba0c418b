"""X2-VLM base on MSRVTT, for the ablation of temporal modelling: the patches of all frames side by side."""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_msrvtt_retrieval import *

model.temporal_encoder = dict(type="ConcatOfFrames")
