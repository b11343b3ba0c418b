"""X2-VLM large on the 4M data: as base, in 16 processes of 64 images and 64 regions each.

The schedule is that of 504,495 steps; the published checkpoint is the one after 250,000.
"""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_4m import *
    from ..base.x2vlm_large_model import model

require_pretrained = dict(
    vision_encoder="beitv2_large_patch16_224_pt1k_ft21k.pth of the BEiT-2 release",
    text_encoder="bert-large-uncased-12l, a BERT of 12 layers and width 1024 that the authors made and did not publish",
    fusion_encoder="bert-large-uncased-12l, a BERT of 12 layers and width 1024 that the authors did not publish",
)
model.objectives.itc.world = 16
streams.image.batch_size = streams.region.batch_size = 64
streams.region.max_images = 25  # records (images); batch_size counts pairs
optim_wrapper.optimizer.lr = 5e-5
default_hooks.checkpoint.interval = 10_000
default_hooks.checkpoint.max_keep_ckpts = 30
