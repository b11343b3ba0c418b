"""COCO retrieval, Karpathy's split, as JSON arrays of `image`, `caption` and `image_id`. Paths start from `data_root`.

Published: training captions are not cut to the number of tokens (they have 30 words at most), test captions are; left
and right are not minded. The best epoch is chosen by the validation set; the test set is read once, at the end.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: KarpathySplit(ann_file="dataset_coco.json", image_root=".", split=["train", "restval"],
        captions_apart=True)
    evaluations.*: KarpathySplit(ann_file="dataset_coco.json", image_root=".", split="test")
"""

data_root = "data/coco"

objectives = dict(
    itc=dict(type="ITC", positives="ids", grad="official"),
    itm=dict(type="ITM", positives="ids"),
)
streams = dict(
    image=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="coco_train.json",
            image_root="images",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=30),
                dict(type="RandomResizedCrop", size=384, scale=(0.5, 1.0)),
                dict(type="Flip", careful=False),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=None, masking=None),
        batch_size=64,  # records, of which all pairs are kept
        objectives=("itc", "itm"),
        num_workers=4,
    ),
)
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="AllCaptions", max_words=30),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
evaluations = dict(
    val=dict(
        dataset=dict(type="JsonLines", ann_file="coco_val.json", image_root="images", pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="RetrievalMetric", k=80),
        batch_size=64,
        num_workers=4,
    ),
    retrieval=dict(
        dataset=dict(type="JsonLines", ann_file="coco_test.json", image_root="images", pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="RetrievalMetric", k=80),
        batch_size=64,
        num_workers=4,
        at_end=True,
    ),
)
keep_best = "val/r_mean"
