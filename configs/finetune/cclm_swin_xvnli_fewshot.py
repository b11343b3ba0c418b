"""The published CCLM on a few examples of one language of XVNLI, after English fine-tuning (`load_from`).

Published: learning rate 1e-5 (the head 2e-5), 60 epochs. Files of 1, 5, 10, 20, 25 and 48 examples: --cfg-options
streams.image.dataset.ann_file=fr/train_48.jsonl (languages: ar, es, fr, ru). The published runs choose the epoch
on the language's test set; here it is read once, at the end.
"""

from mmengine.config import read_base

with read_base():
    from .cclm_swin_xvnli import *

load_from = "finetuned_in_english.pth"  # --cfg-options load_from=FILE
loading = dict(fresh=("objectives.classification",))
streams.image.dataset.ann_file = "fr/train_48.jsonl"
evaluations = dict(fr=dict(dataset=dict(**files, ann_file="fr/test.jsonl"), **common, at_end=True))
val_cfg = dict(type="EvaluationLoop")
test_cfg = val_cfg
keep_best = None
train_cfg.max_epochs = 60
optim_wrapper.optimizer.lr = 1e-5
