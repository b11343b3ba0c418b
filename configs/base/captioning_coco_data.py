"""COCO captions, Karpathy's split, as JSON arrays of `image`, `caption`, `image_id`; 384 pixels as in the release.

Captions are learned as they are written, and images mirrored whatever a caption says of left and right. Published: the
search allows as many more tokens as there are images in a batch, 20 + 50. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: KarpathySplit(ann_file="dataset_coco.json", image_root=".", split=["train", "restval"],
        captions_apart=True)
    evaluations.*: KarpathySplit(ann_file="dataset_coco.json", image_root=".", split="test")
"""

data_root = "data/coco"

prompt = "a picture of "
objectives = dict(caption=dict(type="CaptionGeneration", prompt=prompt, smoothing=0.1))
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="AllCaptions", clean=False, max_words=None),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
search = dict(beams=3, min_length=5, max_length=50, length_penalty=0.0, no_repeat=3, length_from="batch")
keys = dict(extras=("image_id",))
streams = dict(
    image=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="coco_karpathy_train.json",
            image_root="images",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", clean=False),
                dict(type="RandomResizedCrop", size=384, scale=(0.5, 1.0)),
                dict(type="Flip", careful=False),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(
            type="CaptionCollate",
            prompt=prompt,
            max_tokens=40,
            masking=dict(prob=0.6, max_masks=18, whole_word=True, span_prob=0.2, max_span=3),
        ),
        batch_size=16,  # records, of which all pairs are kept
        objectives=("caption",),
        num_workers=4,
    ),
)
evaluations = dict(
    val=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="coco_karpathy_val.json",
            image_root="images",
            keys=keys,
            pipeline=test_pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="CaptioningMetric", search=search),
        batch_size=20,
        num_workers=4,
    ),
    test=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="coco_karpathy_test.json",
            image_root="images",
            keys=keys,
            pipeline=test_pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="CaptioningMetric", search=search),
        batch_size=20,
        num_workers=4,
        at_end=True,
    ),
)
keep_best = "val/cider"
