"""CCLM base: sentences about two images in five languages (MaRVL), learned in English.

The sources give neither learning rate, epochs, warm-up nor batch.
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_base_model import *
    from ..base.finetune import *
    from ..base.marvl_data import *

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
