"""xFlickr&CO, learned from Flickr30K in English: IGLUE's lines of `sentences`, `img_path`, `id`, a file a language.

Images of Flickr30K and of COCO (`COCO_val2014_...`) stand in one folder. Published: 80 words and tokens, the 128
nearest ranked again. Each line with its five sentences is a record, one of which is drawn. Paths start from
`data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: KarpathySplit(ann_file="dataset_flickr30k.json", image_root="flickr30k-images", captions_apart=True)
    evaluations.*: as published
"""

from mmengine.config import read_base

with read_base():
    from .retrieval_coco_data import *

data_root = "data/xflickrco"
keys = dict(image="img_path", caption="sentences", id="id")
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="AllCaptions", max_words=80),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
streams.image.dataset.ann_file = "flickr30k/train_ann.jsonl"
streams.image.dataset["keys"] = keys
streams.image.dataset.pipeline[1].max_words = 80
streams.image.collate.max_tokens = 80
streams.image.batch_size = 8
files = dict(type="JsonLines", image_root="images", keys=keys, pipeline=test_pipeline)
common = dict(
    collate=dict(type="PairCollate", max_tokens=80, masking=None),
    metric=dict(type="RetrievalMetric", k=128),
    batch_size=12,
    num_workers=4,
)
evaluations = dict(
    val=dict(dataset=dict(**files, ann_file="flickr30k/valid_ann.jsonl"), **common),
    de=dict(dataset=dict(**files, ann_file="de/test.jsonl"), **common, at_end=True),
    en=dict(dataset=dict(**files, ann_file="en/test.jsonl"), **common, at_end=True),
    es=dict(dataset=dict(**files, ann_file="es/test.jsonl"), **common, at_end=True),
    id=dict(dataset=dict(**files, ann_file="id/test.jsonl"), **common, at_end=True),
    ja=dict(dataset=dict(**files, ann_file="ja/test.jsonl"), **common, at_end=True),
    ru=dict(dataset=dict(**files, ann_file="ru/test.jsonl"), **common, at_end=True),
    tr=dict(dataset=dict(**files, ann_file="tr/test.jsonl"), **common, at_end=True),
    zh=dict(dataset=dict(**files, ann_file="zh/test.jsonl"), **common, at_end=True),
)
# Without English, as the benchmark counts: images for a text, and texts for an image.
val_cfg = dict(
    type="EvaluationLoop",
    means={
        "test/t2i_r1": ["de/t2i_r1", "es/t2i_r1", "id/t2i_r1", "ja/t2i_r1", "ru/t2i_r1", "tr/t2i_r1", "zh/t2i_r1"],
        "test/i2t_r1": ["de/i2t_r1", "es/i2t_r1", "id/i2t_r1", "ja/i2t_r1", "ru/i2t_r1", "tr/i2t_r1", "zh/i2t_r1"],
    },
)
test_cfg = val_cfg
keep_best = "val/r_mean"
