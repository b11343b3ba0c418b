"""X2-VLM large: sentences about two images (NLVR2) at 384 pixels."""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_nlvr2 import *
    from ..base.x2vlm_large_model import model

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
streams.image.batch_size = 8
optim_wrapper.optimizer.lr = 1e-5
