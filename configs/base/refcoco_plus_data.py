"""RefCOCO+: phrases with a box, as JSON arrays of `image`, `text`, `bbox` and `ref_id`. Paths start from `data_root`.

Published: phrases of 30 words at most, which training cuts to 40 tokens and tests do not; the overlap counts pixels
from first to last. The release's own JSON files name boxes by `ref_id` only: `bbox` comes from the annotations of the
refer toolkit.

Raw files in place of these, by data set (docs/public_data.md):

    streams.region: RefCoco(refs_file="refcoco+/refs(unc).p", instances_file="refcoco+/instances.json",
        image_root="train2014")
    evaluations.*: RefCoco(refs_file="refcoco+/refs(unc).p", instances_file="refcoco+/instances.json",
        image_root="train2014", split="val")
"""

data_root = "data/refcoco_plus"

objectives = dict(bbox=dict(type="BBox"))
keys = dict(caption="text", bb="bbox", extras=("ref_id",))
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="PickPhrases", max_words=30),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
streams = dict(
    region=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="train.json",
            image_root="images",
            keys=keys,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickRegions", max_regions=1, max_words=30),
                dict(type="Flip"),
                dict(type="Resize", size=384),
                dict(type="RandAugment", ops="colour"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        batch_size=20,  # records, of which all pairs are kept
        objectives=("bbox",),
        num_workers=4,
    ),
)
evaluations = dict(
    val=dict(
        dataset=dict(type="JsonLines", ann_file="val.json", image_root="images", keys=keys, pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=None, masking=None),
        metric=dict(type="GroundingMetric", convention="inclusive"),
        batch_size=32,
        num_workers=4,
    ),
    test_a=dict(
        dataset=dict(type="JsonLines", ann_file="testA.json", image_root="images", keys=keys, pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=None, masking=None),
        metric=dict(type="GroundingMetric", convention="inclusive"),
        batch_size=32,
        num_workers=4,
        at_end=True,
    ),
    test_b=dict(
        dataset=dict(type="JsonLines", ann_file="testB.json", image_root="images", keys=keys, pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=None, masking=None),
        metric=dict(type="GroundingMetric", convention="inclusive"),
        batch_size=32,
        num_workers=4,
        at_end=True,
    ),
)
keep_best = "val/accuracy_at_0.5"
