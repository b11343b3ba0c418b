"""X-FM base: RTE, by the language encoder alone. Published: learning rate 1e-5, 20 epochs, batches of 16."""

from mmengine.config import read_base

with read_base():
    from .xfm_base_glue_mnli import *

model.objectives.classification.num_classes = 2
table = dict(
    type="Table",
    columns=dict(text="sentence1", text_pair="sentence2", label="label"),
    pipeline=[
        dict(type="PickText", clean=False),
        dict(type="PickLabel", classes=("entailment", "not_entailment")),
        dict(type="PackSample"),
    ],
)
streams.text.dataset = dict(**table, ann_file="RTE/train.tsv")
evaluations.dev.dataset = dict(**table, ann_file="RTE/dev.tsv")
evaluations.pop("mismatched")
train_cfg.max_epochs = 20
optim_wrapper.optimizer.lr = 1e-5
streams.text.batch_size = 16
