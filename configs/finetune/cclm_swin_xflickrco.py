"""The published CCLM (Swin base, XLM-R large): retrieval on xFlickr&CO, learned in English.

Published: learning rate 3e-5, 10 epochs, batches of 8 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.finetune import *
    from ..base.xflickrco_data import *

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.objectives = objectives
train_cfg.max_epochs = 10
