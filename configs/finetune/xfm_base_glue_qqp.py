"""X-FM base: QQP, by the language encoder alone. Published: learning rate 2e-5, 5 epochs, batches of 32."""

from mmengine.config import read_base

with read_base():
    from .xfm_base_glue_mnli import *

model.objectives.classification.num_classes = 2
table = dict(
    type="Table",
    columns=dict(text="question1", text_pair="question2", label="is_duplicate"),
    pipeline=[
        dict(type="PickText", clean=False),
        dict(type="PickLabel", classes=("0", "1")),
        dict(type="PackSample"),
    ],
)
streams.text.dataset = dict(**table, ann_file="QQP/train.tsv")
evaluations.dev.dataset = dict(**table, ann_file="QQP/dev.tsv")
evaluations.dev.metric.also = ("f1",)
evaluations.pop("mismatched")
train_cfg.max_epochs = 5
optim_wrapper.optimizer.lr = 2e-5
