"""The published CCLM (Swin base, XLM-R large): questions in eight languages (xGQA), learned in English.

Published: learning rate 3e-5 for all parameters, 5 epochs, batches of 32 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.finetune import *
    from ..base.xgqa_data import *

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.embed_dim = None
model.objectives = objectives
loading = dict()  # the decoder is a copy of the fusion encoder, and does not count as new
model.objectives.answer.decoder.layer_norm_eps = 1e-5
train_cfg.max_epochs = 5
