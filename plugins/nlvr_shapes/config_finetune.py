"""Human sentences of NLVR v1, true or false of the image, from the model that learned from drawn scenes.

Fold 0 of dev is held out, to choose settings on. Drawn scenes go on in a second stream. The test set (`hidden`) is
looked at once, at the end.

x2vlm train plugins/nlvr_shapes/config_finetune.py --work-dir work_dirs/nlvr_v1 \
    --cfg-options load_from=work_dirs/nlvr_shapes/iter_1500.pth
"""

from mmengine.config import read_base

with read_base():
    from .config import *

human_pipeline = [
    dict(type="LoadImage"),
    dict(type="NarrowStrips"),
    dict(type="PickCaption", max_words=40),
    dict(type="PickLabel"),
    dict(type="PackSample"),
]
streams.statement.batch_size = 8
streams.human = dict(
    dataset=dict(
        type="Concat",
        datasets=[
            dict(
                type="NlvrGroups",
                ann_file="dev.jsonl",
                images="dev_images.tar",
                folds=(1, 2, 3, 4),
                only_true=False,
                pictures=(0, 3),  # of six orders of the boxes: the order means nothing to the fusion encoder
                pipeline=human_pipeline,
            ),
            dict(
                type="NlvrV1",
                ann_file="train_examples.jsonl",
                images="train_examples_images.tar",
                only_true=False,
                pipeline=human_pipeline,
            ),
        ],
    ),
    collate=collate,
    batch_size=16,
    objectives=("classification",),
    weight=1.0,
)
evaluations = dict(
    held_out=dict(
        dataset=dict(
            type="NlvrGroups",
            ann_file="dev.jsonl",
            images="dev_images.tar",
            folds=(0,),
            only_true=False,
            pictures=(0, 3),
            pipeline=human_pipeline,
        ),
        collate=collate,
        metric=dict(type="ClassificationMetric"),
        batch_size=64,
    ),
    hidden=dict(
        dataset=dict(
            type="NlvrV1",
            ann_file="hidden.jsonl",
            images="hidden_images.tar",
            only_true=False,
            pipeline=human_pipeline,
        ),
        collate=collate,
        metric=dict(type="ClassificationMetric", by="picture"),
        batch_size=64,
        at_end=True,
    ),
)
train_cfg.max_iters = 240
train_cfg.val_interval = 120
optim_wrapper.optimizer.lr = 3e-4
param_scheduler = dict(type="WarmupLinear", warmup=20)
