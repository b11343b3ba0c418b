"""The published CCLM on a few examples of one language of xFlickr&CO, after English fine-tuning (`load_from`).

Published: learning rate 1e-5, 60 epochs. Files of 1, 5, 10, 25, 50 and 100 examples: --cfg-options
streams.image.dataset.ann_file=de/train_100.jsonl (languages: de, en, es, id, ja, ru, tr, zh). The published runs
choose the epoch on the language's test set; here it is read once, at the end.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from .cclm_swin_xflickrco import *

load_from = "finetuned_in_english.pth"  # --cfg-options load_from=FILE
loading = dict()
streams.image.dataset.ann_file = "de/train_100.jsonl"
evaluations = dict(de=dict(dataset=dict(**files, ann_file="de/test.jsonl"), **common, at_end=True))
val_cfg = dict(type="EvaluationLoop")
test_cfg = val_cfg
keep_best = None
train_cfg.max_epochs = 60
optim_wrapper.optimizer.lr = 1e-5
