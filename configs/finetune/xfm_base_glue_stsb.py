"""X-FM base: STS-B, by the language encoder alone. Published: learning rate 5e-5, 20 epochs, batches of 32."""

from mmengine.config import read_base

with read_base():
    from .xfm_base_glue_mnli import *

model.objectives.classification.num_classes = 1
table = dict(
    type="Table",
    columns=dict(text="sentence1", text_pair="sentence2", label="score"),
    pipeline=[
        dict(type="PickText", clean=False),
        dict(type="PickLabel", number=True),
        dict(type="PackSample"),
    ],
)
streams.text.dataset = dict(**table, ann_file="STS-B/train.tsv")
evaluations.dev.dataset = dict(**table, ann_file="STS-B/dev.tsv")
evaluations.pop("mismatched")
train_cfg.max_epochs = 20
optim_wrapper.optimizer.lr = 5e-5
keep_best = "dev/pearson"
