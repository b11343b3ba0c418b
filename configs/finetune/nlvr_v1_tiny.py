"""Is the human sentence true of the synthetic image? With the exact boxes of its shapes beside.

Coloured shapes are what the demo's model knows: begin with its weights, for all but the words.

x2vlm make-vocab nlvr_vocab.txt data/nlvr_v1/dev.jsonl data/nlvr_v1/train_examples.jsonl --key sentence
x2vlm train configs/demo/toy_pretrain.py --work-dir work_dirs/toy
x2vlm train configs/finetune/nlvr_v1_tiny.py --cfg-options load_from=work_dirs/toy/iter_1400.pth data_root=data/nlvr_v1
"""

from mmengine.config import read_base

with read_base():
    from ..pretrain.nlvr_tiny import *

tokenizer.vocab = "nlvr_vocab.txt"
# Positions are fixed, and those of this grid are not those of the toy images.
loading = dict(
    skip=("text_encoder", "vision_encoder.net.pos_embed", "frame_positions", "objectives.mlm"),
    allow_missing=("objectives.classification",),
)
model.objectives = dict(
    classification=dict(type="Classification", num_classes=2),
    itc=dict(type="ITC", positives="ids_and_texts"),
    itm=dict(type="ITM", positives="ids_and_texts"),
    bbox=dict(type="BBox", l1_weight=12.0, giou_weight=5.0),
)
pipeline = [
    dict(type="LoadImage"),
    dict(type="PickCaption", max_words=40),
    dict(type="PickLabel"),
    dict(type="Resize", size=(48, 192)),
    dict(type="PackSample"),
]
collate = dict(type="PairCollate", max_tokens=48, masking=None)
streams.pop("image")
streams.region.objectives = ("itc", "itm", "bbox")
streams.region.collate.masking = None
streams.sentence = dict(
    dataset=dict(
        type="Concat",
        datasets=[
            dict(type="NlvrV1", ann_file="dev.jsonl", images="dev_images.tar", only_true=False, pipeline=pipeline),
            dict(
                type="NlvrV1",
                ann_file="train_examples.jsonl",
                images="train_examples_images.tar",
                only_true=False,
                pipeline=pipeline,
            ),
        ],
    ),
    collate=collate,
    batch_size=64,
    objectives=("classification",),
    weight=3.0,
)
evaluations.sentences = dict(
    dataset=dict(
        type="NlvrV1",
        ann_file="hidden.jsonl",
        images="hidden_images.tar",
        only_true=False,
        pictures=(0,),
        pipeline=pipeline,
    ),
    collate=collate,
    metric=dict(type="ClassificationMetric"),
    batch_size=64,
)
train_cfg.max_iters = 1000
train_cfg.val_interval = 250
optim_wrapper.optimizer.lr = 1.5e-3
