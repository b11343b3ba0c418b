"""SNLI-VE, images that entail sentences: JSON lines of `image`, `sentence`, `label`. Paths start from `data_root`.

Published, for XVNLI: images are mirrored whatever a sentence says of left and right.

Raw files in place of these, by data set (docs/public_data.md):

    *: SnliVe(ann_file="snli_ve_train.jsonl", image_root="flickr30k-images")
"""

data_root = "data/snli_ve"

classes = ("entailment", "neutral", "contradiction")
loading = dict(allow_missing=("objectives.classification",))
objectives = dict(classification=dict(type="Classification", num_classes=3))
keys = dict(caption="sentence", id=None)
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="PickCaption", max_words=40),
    dict(type="PickLabel", classes=classes),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
streams = dict(
    image=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="train.jsonl",
            image_root="images",
            keys=keys,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=40),
                dict(type="PickLabel", classes=classes),
                dict(type="RandomResizedCrop", size=384, scale=(0.5, 1.0)),
                dict(type="Flip", careful=False),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        batch_size=32,  # records, of which all pairs are kept
        objectives=("classification",),
        num_workers=4,
    ),
)
evaluations = dict(
    dev=dict(
        dataset=dict(type="JsonLines", ann_file="dev.jsonl", image_root="images", keys=keys, pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="ClassificationMetric", at=(1,)),
        batch_size=32,
        num_workers=4,
    ),
    test=dict(
        dataset=dict(type="JsonLines", ann_file="test.jsonl", image_root="images", keys=keys, pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="ClassificationMetric", at=(1,)),
        batch_size=32,
        num_workers=4,
        at_end=True,
    ),
)
keep_best = "dev/accuracy"
