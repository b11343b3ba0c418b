"""NLVR v1: coloured shapes with their boxes, and sentences that are true of an image. Paths start from `data_root`.

The images are four times as wide as high; `image_size` of the vision encoder says (height, width).
"""

data_root = "data/nlvr_v1"

streams = dict(
    image=dict(
        dataset=dict(
            type="NlvrV1",
            ann_file="dev.jsonl",
            images="dev_images.tar",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=30),
                dict(type="Resize", size=(48, 192)),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=dict(prob=0.3, max_masks=10)),
        batch_size=32,  # records, of which all pairs are kept
        objectives=("itc", "itm", "mlm"),
    ),
    region=dict(
        dataset=dict(
            type="NlvrV1",
            ann_file="dev.jsonl",
            images="dev_images.tar",
            ambiguous=False,  # phrases that name one shape only
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickRegions", max_regions=4, training=False),
                dict(type="Resize", size=(48, 192)),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=dict(prob=0.3, max_masks=10)),
        batch_size=32,  # pairs: so many of the regions of these images are kept, at random
        max_images=12,  # records (images) read for a batch
        objectives=("itc", "itm", "mlm", "bbox"),
    ),
)

evaluations = dict(
    grounding=dict(
        dataset=dict(
            type="NlvrV1",
            ann_file="hidden.jsonl",
            images="hidden_images.tar",
            only_true=False,
            ambiguous=False,
            pictures=(0,),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickPhrases"),
                dict(type="Resize", size=(48, 192)),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="GroundingMetric"),
        batch_size=32,
    ),
)
