"""NLVR2, sentences about two images: JSON arrays of `images`, `sentence`, `label`. Paths start from `data_root`.

Published: sentences of 30 words at most, which training cuts to 40 tokens and tests do not; images are mirrored
whatever a sentence says of left and right.

Raw files in place of these, by data set (docs/public_data.md):

    *: Nlvr2(ann_file="train.json", image_root="images/train")
"""

data_root = "data/nlvr2"

loading = dict(allow_missing=("objectives.classification",))
objectives = dict(classification=dict(type="Classification", num_classes=2, contexts=2))
keys = dict(caption="sentence")
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="PickCaption", max_words=30),
    dict(type="PickLabel", classes=("False", "True")),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
streams = dict(
    image=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="nlvr2_train.json",
            image_root="images",
            num_images=2,
            keys=keys,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=30),
                dict(type="PickLabel", classes=("False", "True")),
                dict(type="RandomResizedCrop", size=384, scale=(0.5, 1.0)),
                dict(type="Flip", careful=False),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        batch_size=16,  # records, of which all pairs are kept
        objectives=("classification",),
        num_workers=4,
    ),
)
evaluations = dict(
    dev=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="nlvr2_dev.json",
            image_root="images",
            num_images=2,
            keys=keys,
            pipeline=test_pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=None, masking=None),
        metric=dict(type="ClassificationMetric", at=(1,), consistency="text"),
        batch_size=32,
        num_workers=4,
    ),
    test=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="nlvr2_test.json",
            image_root="images",
            num_images=2,
            keys=keys,
            pipeline=test_pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=None, masking=None),
        metric=dict(type="ClassificationMetric", at=(1,), consistency="text"),
        batch_size=32,
        num_workers=4,
        at_end=True,
    ),
)
keep_best = "dev/accuracy"
