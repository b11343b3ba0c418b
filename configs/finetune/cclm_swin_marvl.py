"""The published CCLM (Swin base, XLM-R large): sentences about two images in five languages (MaRVL), learned in
English.

Published: learning rate 3e-5, 10 epochs, batches of 10 a process. The published model reads both images in one pass
(docs/differences.md#two-images).
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.finetune import *
    from ..base.marvl_data import *

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.embed_dim = None
model.objectives = objectives
train_cfg.max_epochs = 10
streams.image.batch_size = 10
