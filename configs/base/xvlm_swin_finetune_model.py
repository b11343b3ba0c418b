"""X-VLM with Swin base at 384 pixels, in windows of 12."""

from mmengine.config import read_base

with read_base():
    from .xvlm_swin_model import *

model.vision_encoder = dict(type="Swin", image_size=384, window=12)
