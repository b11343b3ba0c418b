"""X-FM base: sentences about two images (NLVR2) at 384 pixels.

Published: learning rate 1e-5, 15 epochs, batches of 8 a process; no limit of tokens.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.nlvr2_data import *
    from ..base.xfm_finetune_model import *

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
streams.image.collate.max_tokens = None
streams.image.batch_size = 8
train_cfg.max_epochs = 15
optim_wrapper.optimizer.lr = 1e-5
