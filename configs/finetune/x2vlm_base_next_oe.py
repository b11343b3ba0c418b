"""X2-VLM base: open questions about videos (NExT-OE), 8 frames of 224 pixels.

The sources give neither learning rate, epochs, warm-up nor batch.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.next_oe_data import *
    from ..base.x2vlm_base_model import *

model.vision_encoder.image_size = 224
model.embed_dim = None
model.objectives = objectives
model.num_frames = 8
