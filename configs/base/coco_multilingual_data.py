"""COCO with captions in English, Chinese and Japanese, `{"caption": {"en": [...], ...}, "image_id"}`.

Each training step takes a caption in any language. Each language has test images of its own. Paths start from
`data_root`.

Raw files: `KarpathySplit` (English), `Coco(captions_file="stair_captions_v1.2_train.json")` (Japanese).
"""

from mmengine.config import read_base

with read_base():
    from .retrieval_coco_data import *

data_root = "data/coco_multilingual"
streams.image.dataset.ann_file = "train.json"
streams.image.collate.max_tokens = 64
metric = dict(type="RetrievalMetric", k=80)
collate = dict(type="PairCollate", max_tokens=64, masking=None)
test = dict(type="JsonLines", image_root="images")
load, size, pack = dict(type="LoadImage"), dict(type="Resize", size=384), dict(type="PackSample")
english = dict(**test, ann_file="test_en.json", pipeline=[load, dict(type="AllCaptions", language="en"), size, pack])
chinese = dict(**test, ann_file="test_zh.json", pipeline=[load, dict(type="AllCaptions", language="zh"), size, pack])
japanese = dict(**test, ann_file="test_ja.json", pipeline=[load, dict(type="AllCaptions", language="ja"), size, pack])
evaluations = dict(
    en=dict(dataset=english, collate=collate, metric=metric, batch_size=64, num_workers=4),
    zh=dict(dataset=chinese, collate=collate, metric=metric, batch_size=64, num_workers=4),
    ja=dict(dataset=japanese, collate=collate, metric=metric, batch_size=64, num_workers=4),
)
