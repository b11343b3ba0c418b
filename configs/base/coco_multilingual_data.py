"""COCO with captions in English, Chinese and Japanese: arrays of `image`, `caption`, `image_id`, files for each
language.

An epoch takes every caption in every language; each language has test images of its own. Published: 40 tokens, the 256
nearest ranked again. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image.datasets.0: KarpathySplit(ann_file="dataset_coco.json", image_root=".", split=["train", "restval"],
        captions_apart=True)
    streams.image.datasets.1: CaptionLines(captions_file="imageid.human-written-caption.txt", image_root=".",
        images_file="coco-cn_train.txt", captions_apart=True)
    streams.image.datasets.2: Coco(image_root="train2014", captions_file="stair_captions_v1.2_train.json")
    evaluations.*en: KarpathySplit(ann_file="dataset_coco.json", image_root=".", split="test")
    evaluations.*zh: CaptionLines(captions_file="imageid.human-written-caption.txt", image_root=".",
        images_file="coco-cn_test.txt")
    evaluations.*ja: Coco(image_root="val2014", captions_file="stair_captions_v1.2_val.json")
"""

from mmengine.config import read_base

with read_base():
    from .retrieval_coco_data import *

data_root = "data/coco_multilingual"
streams.image.dataset = dict(
    type="Concat",
    names=("en", "zh", "ja"),
    datasets=[
        dict(type="JsonLines", ann_file="en.train.json", image_root="images"),
        dict(type="JsonLines", ann_file="zh.train.json", image_root="images"),
        dict(type="JsonLines", ann_file="ja.train.json", image_root="images"),
    ],
    pipeline=streams.image.dataset.pipeline,
)
streams.image.collate.max_tokens = 40
streams.image.batch_size = 10
files = dict(type="JsonLines", image_root="images", pipeline=test_pipeline)
common = dict(
    collate=dict(type="PairCollate", max_tokens=40, masking=None),
    metric=dict(type="RetrievalMetric", k=256),
    batch_size=64,
    num_workers=4,
)
evaluations = dict(
    val_en=dict(dataset=dict(**files, ann_file="en.valid.json"), **common),
    val_zh=dict(dataset=dict(**files, ann_file="zh.val.json"), **common),
    val_ja=dict(dataset=dict(**files, ann_file="ja.valid.json"), **common),
    en=dict(dataset=dict(**files, ann_file="en.1k_test.json"), **common, at_end=True),
    zh=dict(dataset=dict(**files, ann_file="zh.test.json"), **common, at_end=True),
    ja=dict(dataset=dict(**files, ann_file="ja.1k_test.json"), **common, at_end=True),
)
val_cfg = dict(
    type="EvaluationLoop",
    means={
        "val/r_mean": ["val_en/r_mean", "val_zh/r_mean", "val_ja/r_mean"],
        "test/r_mean": ["en/r_mean", "zh/r_mean", "ja/r_mean"],
    },
)
test_cfg = val_cfg
keep_best = "val/r_mean"
