"""X-FM base on the 4M data, ImageNet and plain text: two updates a step, the first from words alone.

The release gives the batch of a process and not the number of processes, so no global batch is stated, and the
contrastive gradient is divided by the number of processes that there are. An epoch counts 5,114,489 pairs. An
objective can be given up at a step: train_cfg.plan.until = dict(itm=..., mim=...).
"""

from mmengine.config import read_base

with read_base():
    from ..base.pretrain_xfm_data import *
    from ..base.published_adamw import *
    from ..base.runtime import *
    from ..base.xfm_base_model import *

require_pretrained = dict(
    vision_encoder="beitv2_base_patch16_224_pt1k_ft21k.pth of the BEiT-2 release",
    text_encoder="roberta-base of the RoBERTa release",
    fusion_encoder="roberta-base of the RoBERTa release",
)
train_cfg = dict(
    type="MixedTrainLoop",
    max_epochs=100,
    epoch_of="image",
    epoch_size=5_114_489,
    plan=dict(updates=(("text",), ("region", "imagenet", "image"))),
)
optim_wrapper.precision = "fp16"  # published: O1
param_scheduler.warmup = 2500
