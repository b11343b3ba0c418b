"""CCLM large: sentences about two images in five languages (MaRVL), learned in English."""

from mmengine.config import read_base

with read_base():
    from .cclm_base_marvl import *
    from ..base.cclm_large_model import model, tokenizer

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
streams.image.batch_size = 8
optim_wrapper.optimizer.lr = 1e-5
