"""X2-VLM base: sentences about two images (NLVR2) at 384 pixels.

The sources give neither learning rate, epochs, warm-up nor batch.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.nlvr2_data import *
    from ..base.x2vlm_base_model import *

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
