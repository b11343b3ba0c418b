"""The baseline that sees no image: true or false from the human sentence alone.

x2vlm train plugins/nlvr_shapes/config_sentence_only.py --work-dir work_dirs/nlvr_sentences
"""

from mmengine.config import read_base

with read_base():
    from .config_finetune import *

pipeline = [dict(type="PickText"), dict(type="PickLabel"), dict(type="PackSample")]
keys = dict(text="sentence", label="label", image=None)
model.vision_encoder = model.fusion_encoder = None
model.objectives = dict(classification=dict(type="Classification", num_classes=2, reads="text"))
streams = dict(
    text=dict(
        dataset=dict(type="JsonLines", ann_file=["dev.jsonl", "train_examples.jsonl"], keys=keys, pipeline=pipeline),
        collate=collate,
        batch_size=64,
        objectives=("classification",),
    ),
)
evaluations = dict(
    hidden=dict(
        dataset=dict(type="JsonLines", ann_file="hidden.jsonl", keys=keys, pipeline=pipeline),
        collate=collate,
        metric=dict(type="ClassificationMetric"),
        batch_size=64,
    ),
)
train_cfg.max_iters = 200
train_cfg.val_interval = 200
