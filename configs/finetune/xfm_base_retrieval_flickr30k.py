"""X-FM base: retrieval on Flickr30K at 384 pixels, the 256 nearest ranked again.

Published: learning rate 1e-5, 20 epochs, batches of 32 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.retrieval_flickr30k_data import *
    from ..base.xfm_finetune_model import *

model.vision_encoder.image_size = 384
model.objectives = objectives
streams.image.batch_size = 32
evaluations.val.metric.k = evaluations.retrieval.metric.k = 256
train_cfg.max_epochs = 20
optim_wrapper.optimizer.lr = 1e-5
