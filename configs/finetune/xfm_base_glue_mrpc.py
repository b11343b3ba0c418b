"""X-FM base: MRPC, by the language encoder alone. Published: learning rate 5e-5, 20 epochs, batches of 32."""

from mmengine.config import read_base

with read_base():
    from .xfm_base_glue_mnli import *

model.objectives.classification.num_classes = 2
table = dict(
    type="Table",
    columns=dict(text="#1 String", text_pair="#2 String", label="Quality"),
    pipeline=[
        dict(type="PickText", clean=False),
        dict(type="PickLabel", classes=("0", "1")),
        dict(type="PackSample"),
    ],
)
streams.text.dataset = dict(**table, ann_file="MRPC/train.tsv")
evaluations.dev.dataset = dict(**table, ann_file="MRPC/dev.tsv")
evaluations.dev.metric.also = ("f1",)
evaluations.pop("mismatched")
train_cfg.max_epochs = 20
optim_wrapper.optimizer.lr = 5e-5
