"""X-VLM with Swin base: VQA v2 at 384 pixels, with a decoder of 6 layers.

Published: learning rate 5e-5, twice as much only for keys and values of the decoder, whose width is not that of the
images; 10 epochs, of which the last three are tested; batches of 24 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.vqa_data import *
    from ..base.xvlm_swin_finetune_model import *

model.objectives = objectives
loading = dict()
model.embed_dim = None
for dataset in streams.image.dataset.datasets:
    dataset.pipeline[3].size = 384
evaluations.val.dataset.pipeline[3].size = evaluations.test.dataset.pipeline[2].size = 384
streams.image.batch_size = 24
train_cfg.val_begin = 8
optim_wrapper.optimizer.lr = 5e-5
