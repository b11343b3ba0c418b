"""X2-VLM base on MSRVTT, for the ablation of temporal modelling: attention over the frames, then their mean.

The attention is new; the mean with frame positions is `x2vlm_base_msrvtt_retrieval`.
"""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_msrvtt_retrieval import *

model.temporal_encoder = dict(type="AttentionOverFrames")
loading = dict(allow_missing=("temporal_encoder", "frame_positions"))
