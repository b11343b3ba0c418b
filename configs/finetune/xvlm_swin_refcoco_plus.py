"""X-VLM with Swin base: grounding on RefCOCO+ at 384 pixels.

Published: learning rate 3e-5, 10 epochs, batches of 20 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.refcoco_plus_data import *
    from ..base.xvlm_swin_finetune_model import *

model.objectives = objectives
model.embed_dim = None
