"""Toy captions by self-critical training: the captions' model goes on, with CIDEr-D as reward.

x2vlm caption-frequencies configs/demo/toy_captions_scst.py work_dirs/toy_frequencies.json --records 2000
python tools/train.py configs/demo/toy_captions_scst.py --cfg-options load_from=work_dirs/toy_captions/iter_1000.pth

CIDEr-D of sampled captions rises first, that of greedy ones and of beam search late and little: docs/results.md has
the figures, of two rounds.
"""

from mmengine.config import read_base

with read_base():
    from .toy_captions import *

model.objectives.caption = dict(
    type="SCST",
    prompt="",
    document_frequencies="work_dirs/toy_frequencies.json",
    samples=5,
    baseline="samples",  # samples are far below the greedy caption at first: compare them with each other
    max_length=24,
)
streams.caption.dataset.pipeline = [
    dict(type="LoadImage"),
    dict(type="AllCaptions", clean=False, max_words=None),
    dict(type="PackSample", mean=middle, std=middle),
]
streams.caption.collate = dict(type="PairCollate", max_tokens=32, masking=None)
streams.caption.batch_size = 32
train_cfg.max_iters = train_cfg.val_interval = 450
optim_wrapper.optimizer.lr = 1e-4
optim_wrapper.optimizer.betas = (0.9, 0.999)  # rewards are noisy: a longer memory of the gradient's size
