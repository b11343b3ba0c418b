"""X2-VLM base: VQA v2 at 768 pixels, 16 processes of 8 questions."""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.vqa_data import *
    from ..base.x2vlm_base_model import *

model.vision_encoder.image_size = 768
model.embed_dim = None
model.objectives = objectives
train_cfg = dict(type="MixedTrainLoop", max_epochs=5, val_interval=1, val_begin=3, global_batch=dict(image=128))
optim_wrapper.optimizer.lr = 4e-5
optim_wrapper.paramwise_cfg = dict(lr_mult=2, vision_lr=2e-5, text_lr=4e-5)
param_scheduler.warmup = 0.1
