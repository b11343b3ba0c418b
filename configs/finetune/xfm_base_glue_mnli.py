"""X-FM base: MNLI (matched and mismatched), by the language encoder alone.

Published for all of GLUE: no weight decay, no warm-up, one learning rate for all parameters; here 2e-5 and 5 epochs.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.glue_data import *
    from ..base.xfm_finetune_model import *

model.vision_encoder = model.fusion_encoder = None
model.embed_dim = None
model.objectives = objectives
train_cfg.max_epochs = 5
optim_wrapper.optimizer = dict(type="PublishedAdamW", lr=2e-5, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)
optim_wrapper.paramwise_cfg = dict(lr_mult=1)
param_scheduler.warmup = 0
evaluations.mismatched = dict(
    dataset=dict(type="Table", ann_file="MNLI/dev_mismatched.tsv", columns=columns, pipeline=pipeline),
    collate=evaluations.dev.collate,
    metric=evaluations.dev.metric,
    batch_size=64,
    num_workers=2,
)
