"""X2-VLM base, first 1B stage: 3072 images and 1536 regions a step (published: 24 processes), 1,292,034 steps."""

from mmengine.config import read_base

with read_base():
    from ..base.pretrain_1b_data import *
    from ..base.published_adamw import *
    from ..base.runtime import *
    from ..base.x2vlm_base_model import *

require_pretrained = dict(
    vision_encoder="beitv2_base_patch16_224_pt1k_ft21k.pth of the BEiT-2 release",
    text_encoder="bert-base-uncased of the BERT release",
    fusion_encoder="bert-base-uncased of the BERT release",
)
model.objectives.itc.world = 24
streams.region.batch_size = 64
streams.region.max_images = 26  # records (images); batch_size counts pairs
train_cfg = dict(
    type="MixedTrainLoop",
    max_epochs=3,
    epoch_of="image",
    epoch_size=1_323_042_683,
    global_batch=dict(image=3072, image_clean=3072, region=1536),
    plan=dict(turns=turns, until=dict(itm=200_000)),
)
optim_wrapper.precision = "fp16"
param_scheduler.warmup = 2500
