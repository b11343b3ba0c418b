"""Multi30K: images with captions in English, German, French and Czech, `{"caption": {"en": [...], ...}, "image_id"}`.

Each training step takes a caption in any language. Paths start from `data_root`.
"""

from mmengine.config import read_base

with read_base():
    from .retrieval_coco_data import *

data_root = "data/multi30k"
streams.image.dataset.ann_file = "train.json"
streams.image.collate.max_tokens = 64
metric = dict(type="RetrievalMetric", k=32)
collate = dict(type="PairCollate", max_tokens=64, masking=None)
test = dict(type="JsonLines", ann_file="test.json", image_root="images")
load, size, pack = dict(type="LoadImage"), dict(type="Resize", size=384), dict(type="PackSample")
english = [load, dict(type="AllCaptions", language="en", max_words=30), size, pack]
german = [load, dict(type="AllCaptions", language="de", max_words=30), size, pack]
french = [load, dict(type="AllCaptions", language="fr", max_words=30), size, pack]
czech = [load, dict(type="AllCaptions", language="cs", max_words=30), size, pack]
evaluations = dict(
    en=dict(dataset=dict(**test, pipeline=english), collate=collate, metric=metric, batch_size=64, num_workers=4),
    de=dict(dataset=dict(**test, pipeline=german), collate=collate, metric=metric, batch_size=64, num_workers=4),
    fr=dict(dataset=dict(**test, pipeline=french), collate=collate, metric=metric, batch_size=64, num_workers=4),
    cs=dict(dataset=dict(**test, pipeline=czech), collate=collate, metric=metric, batch_size=64, num_workers=4),
)
