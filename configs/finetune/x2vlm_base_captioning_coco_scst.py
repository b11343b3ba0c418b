"""X2-VLM base: captions of COCO, self-critical training on CIDEr-D after x2vlm_base_captioning_coco.

No paper of X2-VLM or X-FM has this step. The numbers are those of X-VLM's release, for batches of 8 images on 8
processes: learning rate 1e-5, warm-up a tenth of 44,275 steps, five samples of at most 20 tokens against the greedy
caption, an evaluation every 500 steps. There captions are sampled with dropout, and at least five tokens long.

x2vlm caption-frequencies configs/finetune/x2vlm_base_captioning_coco_scst.py coco_frequencies.json
"""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_captioning_coco import *

model.objectives.caption = dict(
    type="SCST", prompt=prompt, document_frequencies="coco_frequencies.json", samples=5, max_length=20
)
streams.image.dataset = dict(
    type="KarpathySplit",  # all captions of an image in one record
    ann_file="dataset_coco.json",
    image_root="images",
    split=("train", "restval"),
    pipeline=[
        dict(type="LoadImage"),
        dict(type="AllCaptions", clean=False, max_words=None),
        dict(type="RandomResizedCrop", size=384, scale=(0.5, 1.0)),
        dict(type="Flip", careful=False),
        dict(type="RandAugment"),
        dict(type="PackSample"),
    ],
)
streams.image.collate = dict(type="PairCollate", max_tokens=40, masking=None)
streams.image.batch_size = 8
train_cfg = dict(type="MixedTrainLoop", max_iters=44_275, val_interval=500)
default_hooks.checkpoint = dict(type="CheckpointHook", interval=500, max_keep_ckpts=2)
optim_wrapper.optimizer.lr = 1e-5
optim_wrapper.paramwise_cfg = dict(lr_mult=2)
param_scheduler.warmup = 0.1
load_from = "captioning.th"
