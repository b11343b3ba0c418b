"""X2-VLM large: multiple choice about videos (NExT-QA), 8 frames of 224 pixels."""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_next_qa import *
    from ..base.x2vlm_large_model import model

model.vision_encoder.image_size = 224
model.embed_dim = None
model.objectives = objectives
model.num_frames = 8
streams.video.batch_size = 8
optim_wrapper.optimizer.lr = 1e-5
