"""X-VLM with Swin base: retrieval on COCO at 384 pixels, the 256 nearest ranked again.

Published: learning rate 3e-5, 10 epochs, batches of 20 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.retrieval_coco_data import *
    from ..base.xvlm_swin_finetune_model import *

model.objectives = objectives
streams.image.batch_size = 20
evaluations.val.metric.k = evaluations.retrieval.metric.k = 256
