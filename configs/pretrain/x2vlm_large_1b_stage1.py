"""X2-VLM large, first 1B stage: 48 processes of 64 images and 32 regions each.

The number of processes follows from the batch of the base run, 3072 / 64; the release does not state it.
"""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_1b_stage1 import *
    from ..base.x2vlm_large_model import model

require_pretrained = dict(
    vision_encoder="beitv2_large_patch16_224_pt1k_ft21k.pth of the BEiT-2 release",
    text_encoder="bert-large-uncased-12l, a BERT of 12 layers and width 1024 that the authors made and did not publish",
    fusion_encoder="bert-large-uncased-12l, a BERT of 12 layers and width 1024 that the authors did not publish",
)
model.objectives.itc.world = 48
streams.image.batch_size = streams.image_clean.batch_size = 64
streams.region.batch_size = 32
streams.region.max_images = 14  # records (images); batch_size counts pairs
optim_wrapper.optimizer.lr = 5e-5
