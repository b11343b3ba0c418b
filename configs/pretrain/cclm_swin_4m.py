"""The published CCLM: Swin base and XLM-R large (12 layers), 8 processes of 128 images, regions and sentences each.

146,640 steps. Regions come from 48 images a process.
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.pretrain_multilingual_data import *
    from ..base.published_adamw import *
    from ..base.runtime import *

require_pretrained = dict(
    vision_encoder="swin_base_patch4_window7_224_22k.pth of the Swin Transformer release",
    text_encoder="xlm-roberta-large of the XLM-R release",
    fusion_encoder="xlm-roberta-large of the XLM-R release",
)
for stream in (streams.image, streams.region):
    stream.collate.max_tokens = 40
    stream.collate.masking = dict(prob=0.4, max_masks=12, whole_word=False, span_prob=0.2, max_span=3)
    stream.dataset.pipeline[1].max_words = 40
streams.image.batch_size = streams.region.batch_size = streams.parallel.batch_size = 128
streams.region.max_images = 48
streams.parallel.collate.masking = dict(prob=0.4, max_masks=20, whole_word=False, span_prob=0.2, max_span=3)
model.objectives.itc.world = 8
train_cfg = dict(
    type="MixedTrainLoop",
    max_epochs=30,
    epoch_of="image",
    epoch_size=5_004_332,
    global_batch=dict(image=1024, region=1024, parallel=1024),
)
optim_wrapper.precision = "fp16"  # published: O1
param_scheduler.warmup = 2500
