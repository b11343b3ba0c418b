"""X2-VLM large, second 1B stage: 32 processes of 32 images, 32 regions and 20 videos each."""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_1b_stage2 import *
    from ..base.x2vlm_large_model import model

model.num_frames = 3
model.objectives.itc.world = 32
streams.image.batch_size = streams.region.batch_size = 32
streams.region.max_images = 14  # records (images); batch_size counts pairs
streams.video.batch_size = streams.video_clean.batch_size = 20
optim_wrapper.optimizer.lr = 3e-5
