"""X-FM base: grounding on RefCOCO+ at 384 pixels.

Published: learning rate 2e-5, 15 epochs, batches of 20 a process; training does not cut tokens. The published run
trains two epochs of boxes first (docs/differences.md#domain-pre-training).
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.refcoco_plus_data import *
    from ..base.xfm_finetune_model import *

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
streams.region.collate.max_tokens = None
train_cfg.max_epochs = 15
optim_wrapper.optimizer.lr = 2e-5
