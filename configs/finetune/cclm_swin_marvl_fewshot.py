"""The published CCLM on a few examples of one language of MaRVL, after English fine-tuning (`load_from`).

Published: learning rate 1e-5 (the head 2e-5), 60 epochs. Files of 1, 2, 4, 10 and 10x2 examples: --cfg-options
streams.image.dataset.ann_file=marvl-id_train10x2.jsonl (languages: id, tr, zh). The published runs choose the epoch
on the language's test set; here it is read once, at the end.

Raw files in place of these, by data set (docs/public_data.md):

    *: Marvl(ann_file="marvl-id_train10x2.jsonl", image_root="id/images")
"""

from mmengine.config import read_base

with read_base():
    from .cclm_swin_marvl import *

load_from = "finetuned_in_english.pth"  # --cfg-options load_from=FILE
loading = dict(fresh=("objectives.classification",))
streams.image.dataset.ann_file = "marvl-id_train10x2.jsonl"
streams.image.dataset["keys"] = files["keys"]
evaluations = dict(id=dict(dataset=dict(**files, ann_file="marvl-id.jsonl"), **common, at_end=True))
val_cfg = dict(type="EvaluationLoop")
test_cfg = val_cfg
keep_best = None
train_cfg.max_epochs = 60
optim_wrapper.optimizer.lr = 1e-5
