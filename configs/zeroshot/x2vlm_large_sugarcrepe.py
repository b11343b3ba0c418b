"""X2-VLM large, zero-shot: SugarCrepe by each of three scorers.

Nothing is trained: tools/test.py wants a pre-trained checkpoint.
"""

from mmengine.config import read_base

with read_base():
    from ..base.runtime import *
    from ..base.sugarcrepe_data import *
    from ..base.x2vlm_large_model import *

model.vision_encoder.image_size = 384
