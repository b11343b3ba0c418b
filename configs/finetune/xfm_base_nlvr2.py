"""X-FM base: sentences about two images (NLVR2) at 384 pixels.

The sources give neither learning rate, epochs, warm-up nor batch. The size of images is that of X2-VLM.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.nlvr2_data import *
    from ..base.xfm_finetune_model import *

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
