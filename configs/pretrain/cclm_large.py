"""CCLM large: 16 processes of 30 images, regions and sentences each; starts from X2-VLM large."""

from mmengine.config import read_base

with read_base():
    from .cclm_base import *
    from ..base.cclm_large_model import model, tokenizer

model.objectives.itc.world = 16
streams.image.batch_size = streams.region.batch_size = streams.parallel.batch_size = 30
streams.region.max_images = 14  # records (images); batch_size counts pairs
optim_wrapper.optimizer.lr = 3e-5
optim_wrapper.paramwise_cfg = dict(lr_mult=2, vision_lr=1e-5, text_lr=6e-5, cross_lr=3e-5)
