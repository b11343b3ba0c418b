"""X-VLM with Swin base: grounding on RefCOCO+ at 384 pixels.

Published: learning rate 3e-5, 10 epochs, batches of 20 a process; images are mirrored whatever a phrase says of left
and right, and training does not cut tokens. The published run trains two epochs of boxes first
(docs/differences.md#domain-pre-training).
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.refcoco_plus_data import *
    from ..base.xvlm_swin_finetune_model import *

model.objectives = objectives
streams.region.collate.max_tokens = None
streams.region.dataset.pipeline[2].careful = False
model.embed_dim = None
