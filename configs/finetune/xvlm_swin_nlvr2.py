"""X-VLM with Swin base: sentences about two images (NLVR2) at 384 pixels.

Published: learning rate 3e-5, 10 epochs, batches of 10 a process; no limit of tokens. The published model reads both
images in one pass, and learns for two epochs first which of two a text belongs to (docs/differences.md#two-images,
docs/differences.md#domain-pre-training).
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.nlvr2_data import *
    from ..base.xvlm_swin_finetune_model import *

model.objectives = objectives
streams.image.collate.max_tokens = None
model.embed_dim = None
streams.image.batch_size = 10
