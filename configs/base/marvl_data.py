"""MaRVL, learned from NLVR2: JSON lines of `left_img`, `right_img`, `caption`, `label`, a file a language.

Published: 30 words at most, no limit of tokens. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    evaluations.??: Marvl(ann_file="marvl-id.jsonl", image_root="id/images")
    *: Nlvr2(ann_file="train.json", image_root="images/train")
"""

from mmengine.config import read_base

with read_base():
    from .nlvr2_data import *

data_root = "data/marvl"
streams.image.collate.max_tokens = None
files = dict(
    type="JsonLines",
    image_root="images",
    keys=dict(images=dict(left="left_img", right="right_img"), extras=("language",)),
    pipeline=test_pipeline,
)
common = dict(
    collate=evaluations.test.collate,
    metric=evaluations.test.metric,
    batch_size=32,
    num_workers=4,
)
evaluations.id = dict(dataset=dict(**files, ann_file="marvl-id.jsonl"), **common, at_end=True)
evaluations.sw = dict(dataset=dict(**files, ann_file="marvl-sw.jsonl"), **common, at_end=True)
evaluations.ta = dict(dataset=dict(**files, ann_file="marvl-ta.jsonl"), **common, at_end=True)
evaluations.tr = dict(dataset=dict(**files, ann_file="marvl-tr.jsonl"), **common, at_end=True)
evaluations.zh = dict(dataset=dict(**files, ann_file="marvl-zh.jsonl"), **common, at_end=True)
val_cfg = dict(
    type="EvaluationLoop",
    means={"test/accuracy": ["id/accuracy", "sw/accuracy", "ta/accuracy", "tr/accuracy", "zh/accuracy"]},
)
test_cfg = val_cfg
