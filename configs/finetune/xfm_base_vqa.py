"""X-FM base: VQA v2 at 480 pixels; a decoder of RoBERTa's shape, as deep as the fusion encoder.

Published: learning rate 2e-5 for all parameters, 10 epochs, batches of 24 a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.vqa_data import *
    from ..base.xfm_finetune_model import *

model.vision_encoder.image_size = 480
model.embed_dim = None
model.objectives = objectives
loading = dict()  # the decoder is a copy of the fusion encoder, and does not count as new
model.objectives.answer.decoder = dict(
    depth=12, layer_norm_eps=1e-5, token_types=1, first_position=2, max_positions=514
)
for dataset in streams.image.dataset.datasets:
    dataset.pipeline[3].size = 480
evaluations.val.dataset.pipeline[3].size = evaluations.test.dataset.pipeline[2].size = 480
streams.image.batch_size = 24
train_cfg = dict(type="MixedTrainLoop", max_epochs=10, val_interval=1, val_begin=3)
optim_wrapper.optimizer.lr = 2e-5
