"""CCLM base with BEiT-2: questions in eight languages (xGQA), learned in English.

The numbers are those of the published CCLM with Swin: learning rate 3e-5, 5 epochs, batches of 32 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_base_model import *
    from ..base.finetune import *
    from ..base.xgqa_data import *

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
train_cfg.max_epochs = 5
