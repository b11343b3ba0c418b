"""X2-VLM base on MSRVTT, for the ablation of temporal modelling: the mean of the frames, which know no place."""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_msrvtt_retrieval import *

model.temporal_encoder = dict(type="MeanOfFrames", positions=False)
loading = dict()  # there are no positions to be missing
