"""CCLM base with BEiT-2: retrieval on COCO in three languages.

The numbers are those of the published CCLM with Swin: learning rate 3e-5, 10 epochs, batches of 10 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_base_model import *
    from ..base.finetune import *
    from ..base.coco_multilingual_data import *

model.vision_encoder.image_size = 384
model.objectives = objectives
train_cfg.max_epochs = 10
