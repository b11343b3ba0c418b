"""X-FM base: CoLA, by the language encoder alone. Published: learning rate 3e-5, 20 epochs, batches of 32."""

from mmengine.config import read_base

with read_base():
    from .xfm_base_glue_mnli import *

model.objectives.classification.num_classes = 2
table = dict(
    type="Table",
    columns=dict(text=3, label=1),
    header=False,
    pipeline=[
        dict(type="PickText", clean=False),
        dict(type="PickLabel", classes=("0", "1")),
        dict(type="PackSample"),
    ],
)
streams.text.dataset = dict(**table, ann_file="CoLA/train.tsv")
evaluations.dev.dataset = dict(**table, ann_file="CoLA/dev.tsv")
evaluations.dev.metric.also = ("matthews",)
evaluations.pop("mismatched")
train_cfg.max_epochs = 20
optim_wrapper.optimizer.lr = 3e-5
keep_best = "dev/matthews"
