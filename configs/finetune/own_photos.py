"""Retrieval and grounding on photographs of one's own, with a small model (docs/own_data.md).

x2vlm train configs/finetune/own_photos.py --work-dir work_dirs/own --cfg-options data_root=data/own
"""

from mmengine.config import read_base

with read_base():
    from ..base.adamw import *
    from ..base.own_photos_data import *
    from ..base.runtime import *
    from ..base.small_model import *

tokenizer = dict(type="BertVocab", vocab="data/own/vocab.txt")
train_cfg = dict(type="MixedTrainLoop", max_iters=400, val_interval=200)
default_hooks.checkpoint.interval = 200
