"""MaRVL, learned from NLVR2, in five languages: JSON lines of `left_img`, `right_img`, `caption`, `label`, `language`.

Paths start from `data_root`.

Raw files: `Marvl(ann_file="marvl-id.jsonl", image_root="id/images")`.
"""

from mmengine.config import read_base

with read_base():
    from .nlvr2_data import *

data_root = "data/marvl"
streams.image.collate.max_tokens = evaluations.dev.collate.max_tokens = evaluations.test.collate.max_tokens = 64
evaluations.test.dataset.ann_file = "marvl_*.jsonl"
evaluations.test.dataset["keys"] = dict(images=dict(left="left_img", right="right_img"), extras=("language",))
