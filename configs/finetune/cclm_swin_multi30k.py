"""The published CCLM (Swin base, XLM-R large): retrieval on Multi30K in four languages.

Published: learning rate 3e-5, 10 epochs, batches of 20 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.finetune import *
    from ..base.multi30k_data import *

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.objectives = objectives
train_cfg.max_epochs = 10
