"""Multi30K in English, German, French and Czech: arrays of `image`, `caption`, `image_id`, files for each language.

An epoch takes every caption in every language: as published, 145,000 in English and in German, 29,000 in French and in
Czech. Published: 40 tokens, the 128 nearest ranked again. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image.datasets.*: Multi30k(images_file="train_images.txt", captions=dict(en=["train.1.en", "train.2.en"]),
        image_root="flickr30k-images", captions_apart=True)
    evaluations.*: Multi30k(images_file="test_2016_flickr.txt", captions=dict(de="test_2016_flickr.de"),
        image_root="flickr30k-images")
"""

from mmengine.config import read_base

with read_base():
    from .retrieval_coco_data import *

data_root = "data/multi30k"
streams.image.dataset = dict(
    type="Concat",
    names=("en", "de", "fr", "cs"),
    datasets=[
        dict(type="JsonLines", ann_file="train.en.json", image_root="images"),
        dict(type="JsonLines", ann_file="train.de.json", image_root="images"),
        dict(type="JsonLines", ann_file="train.fr.json", image_root="images"),
        dict(type="JsonLines", ann_file="train.cs.json", image_root="images"),
    ],
    pipeline=streams.image.dataset.pipeline,
)
streams.image.collate.max_tokens = 40
streams.image.batch_size = 20
files = dict(type="JsonLines", image_root="images", pipeline=test_pipeline)
common = dict(
    collate=dict(type="PairCollate", max_tokens=40, masking=None),
    metric=dict(type="RetrievalMetric", k=128),
    batch_size=64,
    num_workers=4,
)
evaluations = dict(
    val_en=dict(dataset=dict(**files, ann_file="val.en.json"), **common),
    val_de=dict(dataset=dict(**files, ann_file="val.de.json"), **common),
    val_fr=dict(dataset=dict(**files, ann_file="val.fr.json"), **common),
    val_cs=dict(dataset=dict(**files, ann_file="val.cs.json"), **common),
    en=dict(dataset=dict(**files, ann_file="test_2016_flickr.en.json"), **common, at_end=True),
    de=dict(dataset=dict(**files, ann_file="test_2016_flickr.de.json"), **common, at_end=True),
    fr=dict(dataset=dict(**files, ann_file="test_2016_flickr.fr.json"), **common, at_end=True),
    cs=dict(dataset=dict(**files, ann_file="test_2016_flickr.cs.json"), **common, at_end=True),
)
val_cfg = dict(
    type="EvaluationLoop",
    means={
        "val/r_mean": ["val_en/r_mean", "val_de/r_mean", "val_fr/r_mean", "val_cs/r_mean"],
        "test/r_mean": ["en/r_mean", "de/r_mean", "fr/r_mean", "cs/r_mean"],
    },
)
test_cfg = val_cfg
keep_best = "val/r_mean"
