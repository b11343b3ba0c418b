"""X-FM base: captions of COCO at 384 pixels.

Published: learning rate 1e-5, 5 epochs, batches of 32 a process; captions of 5 to 20 tokens with the prompt, 3 beams.
The search is not transformers' (docs/differences.md#next-token). The published run writes captions of the pre-training
images for two epochs first (docs/differences.md#domain-pre-training).
"""

from mmengine.config import read_base

with read_base():
    from ..base.finetune import *
    from ..base.captioning_coco_data import *
    from ..base.xfm_finetune_model import *

model.vision_encoder.image_size = 384
model.embed_dim = None
model.objectives = objectives
model.objectives.caption.type = "NextTokenCaption"
streams.image.collate = dict(type="CaptionCollate", prompt=prompt, masked="next", max_tokens=40)
model.objectives.caption.tied = False
model.objectives.caption.layer_norm_eps = 1e-5
search = dict(beams=3, min_length=1, max_length=16, length_penalty=1.0, no_repeat=0)
evaluations.val.metric.search = evaluations.test.metric.search = search
streams.image.batch_size = evaluations.val.batch_size = evaluations.test.batch_size = 32
train_cfg.max_epochs = 5
optim_wrapper.optimizer.lr = 1e-5
