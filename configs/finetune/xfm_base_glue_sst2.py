"""X-FM base: SST-2, by the language encoder alone. Published: learning rate 2e-5, 3 epochs, batches of 32."""

from mmengine.config import read_base

with read_base():
    from .xfm_base_glue_mnli import *

model.objectives.classification.num_classes = 2
table = dict(
    type="Table",
    columns=dict(text="sentence", label="label"),
    pipeline=[
        dict(type="PickText", clean=False),
        dict(type="PickLabel", classes=("0", "1")),
        dict(type="PackSample"),
    ],
)
streams.text.dataset = dict(**table, ann_file="SST-2/train.tsv")
evaluations.dev.dataset = dict(**table, ann_file="SST-2/dev.tsv")
evaluations.pop("mismatched")
train_cfg.max_epochs = 3
optim_wrapper.optimizer.lr = 2e-5
