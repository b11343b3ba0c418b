"""X-FM base: ImageNet at 224 pixels, by the vision encoder alone.

Published: torch's AdamW, learning rate 4e-5 for all parameters, weight decay 0.02, 100 epochs of which 10 warm up, then
half a cosine down to 1e-7; batches of 128 a process. The published head has five layers, this one two.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.imagenet_data import *
    from ..base.xfm_finetune_model import *

model.text_encoder = model.fusion_encoder = None
model.embed_dim = None
model.objectives = objectives
train_cfg.max_epochs = 100
optim_wrapper.optimizer = dict(type="AdamW", lr=4e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.02)
optim_wrapper.paramwise_cfg = dict(lr_mult=1)
param_scheduler = dict(type="WarmupLinear", warmup=0.1, min_factor=0.0025, decay="cosine")
