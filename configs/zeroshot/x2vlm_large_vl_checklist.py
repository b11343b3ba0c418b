"""X2-VLM large, zero-shot: VL-CheckList by each of three scorers.

Nothing is trained: tools/test.py wants a pre-trained checkpoint.
"""

from mmengine.config import read_base

with read_base():
    from ..base.runtime import *
    from ..base.vl_checklist_data import *
    from ..base.x2vlm_large_model import *

model.vision_encoder.image_size = 384
