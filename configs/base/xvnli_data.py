"""XVNLI, learned from SNLI-VE: IGLUE's JSON lines of `gold_label`, `sentence2`, `Flikr30kID`, a file a language.

Published: 80 words; 80 tokens in training, no limit in tests; classes in the order of the published heads. A line whose
annotators disagree (`gold_label` is "-") has no label and is passed over. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: SnliVe(ann_file="snli_ve_train.jsonl", image_root="flickr30k-images")
    *: SnliVe(ann_file="ar_test.jsonl", image_root="flickr30k-images")
"""

from mmengine.config import read_base

with read_base():
    from .snli_ve_data import *

data_root = "data/xvnli"
classes = ("contradiction", "entailment", "neutral")
keys = dict(image="Flikr30kID", caption="sentence2", label="gold_label", id="pairID")
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="PickCaption", max_words=80),
    dict(type="PickLabel", classes=classes, unknown="ignore"),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
streams.image.collate.max_tokens = 80
streams.image.dataset["keys"] = keys
streams.image.dataset.file_pattern = "{}.jpg"
streams.image.dataset.ann_file = "en/train.jsonl"
streams.image.dataset.pipeline[1].max_words = 80
streams.image.dataset.pipeline[2] = dict(type="PickLabel", classes=classes, unknown="ignore")
files = dict(type="JsonLines", image_root="images", file_pattern="{}.jpg", keys=keys, pipeline=test_pipeline)
collate = dict(type="PairCollate", max_tokens=None, masking=None)
metric = dict(type="ClassificationMetric", at=(1,), unknown="left_out")
common = dict(collate=collate, metric=metric, batch_size=32, num_workers=4)
evaluations = dict(
    dev=dict(dataset=dict(**files, ann_file="en/dev.jsonl"), **common),
    en=dict(dataset=dict(**files, ann_file="en/test.jsonl"), **common, at_end=True),
    ar=dict(dataset=dict(**files, ann_file="ar/test.jsonl"), **common, at_end=True),
    es=dict(dataset=dict(**files, ann_file="es/test.jsonl"), **common, at_end=True),
    fr=dict(dataset=dict(**files, ann_file="fr/test.jsonl"), **common, at_end=True),
    ru=dict(dataset=dict(**files, ann_file="ru/test.jsonl"), **common, at_end=True),
)
# Without English, as the benchmark counts.
val_cfg = dict(
    type="EvaluationLoop", means={"test/accuracy": ["ar/accuracy", "es/accuracy", "fr/accuracy", "ru/accuracy"]}
)
test_cfg = val_cfg
