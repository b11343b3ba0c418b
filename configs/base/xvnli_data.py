"""XVNLI, learned from SNLI-VE, in five languages (`language` in every line). Paths start from `data_root`.

The sources do not say how the files of the published numbers were laid out.

Raw files: `SnliVe(ann_file="ar_test.jsonl", image_root="flickr30k-images")`.
"""

from mmengine.config import read_base

with read_base():
    from .snli_ve_data import *

data_root = "data/xvnli"
streams.image.collate.max_tokens = evaluations.dev.collate.max_tokens = evaluations.test.collate.max_tokens = 64
evaluations.test.dataset.ann_file = "test_*.jsonl"
evaluations.test.dataset["keys"] = dict(caption="sentence", id=None, extras=("language",))
