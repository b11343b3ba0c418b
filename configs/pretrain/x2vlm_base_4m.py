"""X2-VLM base on the 4M data: 1024 images and 1024 regions a step (published: 8 processes), 504,495 steps."""

from mmengine.config import read_base

with read_base():
    from ..base.pretrain_4m_data import *
    from ..base.published_adamw import *
    from ..base.runtime import *
    from ..base.x2vlm_base_model import *

require_pretrained = dict(
    vision_encoder="beitv2_base_patch16_224_pt1k_ft21k.pth of the BEiT-2 release",
    text_encoder="bert-base-uncased of the BERT release",
    fusion_encoder="bert-base-uncased of the BERT release",
)
model.objectives.itc.world = 8
train_cfg = dict(
    type="MixedTrainLoop",
    max_epochs=101,
    epoch_of="image",
    epoch_size=5_114_489,
    global_batch=dict(image=1024, region=1024),
)
optim_wrapper.precision = "fp16"  # published: O1
param_scheduler.warmup = 2500
