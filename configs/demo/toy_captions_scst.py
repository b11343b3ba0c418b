"""Toy captions by self-critical training: the captions' model goes on, with CIDEr-D as reward.

x2vlm caption-frequencies configs/demo/toy_captions_scst.py work_dirs/toy_frequencies.json --records 2000
python tools/train.py configs/demo/toy_captions_scst.py --cfg-options load_from=work_dirs/toy_captions/iter_1000.pth
"""

from mmengine.config import read_base

with read_base():
    from .toy_captions import *

model.objectives.caption = dict(
    type="SCST", prompt="", document_frequencies="work_dirs/toy_frequencies.json", samples=5, max_length=24
)
streams.caption.dataset.pipeline = [
    dict(type="LoadImage"),
    dict(type="AllCaptions", clean=False, max_words=None),
    dict(type="PackSample", mean=middle, std=middle),
]
streams.caption.collate = dict(type="PairCollate", max_tokens=32, masking=None)
streams.caption.batch_size = 16
train_cfg.max_iters = train_cfg.val_interval = 150
optim_wrapper.optimizer.lr = 1e-4
