"""A folder of photographs with a table of captions and one of boxes (docs/own_data.md). Paths start from `data_root`.

`captions.csv` has the columns `file` and `caption`, `boxes.csv` has `file`, `phrase`, `x`, `y`, `width`, `height` in
pixels; `val_captions.csv` and `val_boxes.csv` have those that are tested on.
"""

data_root = "data/own"

streams = dict(
    image=dict(
        dataset=dict(
            type="ImageTable",
            image_root="photos",
            captions_file="captions.csv",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=30),
                dict(type="RandomResizedCrop", size=224, scale=(0.5, 1.0)),
                dict(type="Flip"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=dict(prob=0.3, max_masks=10)),
        batch_size=16,
        objectives=("itc", "itm", "mlm"),
    ),
    region=dict(
        dataset=dict(
            type="ImageTable",
            image_root="photos",
            boxes_file="boxes.csv",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickRegions", max_regions=4),
                dict(type="Flip"),
                dict(type="Resize", size=224),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=dict(prob=0.3, max_masks=10)),
        batch_size=16,
        max_images=8,
        objectives=("itc", "itm", "mlm", "bbox"),
    ),
)
evaluations = dict(
    retrieval=dict(
        dataset=dict(
            type="ImageTable",
            image_root="photos",
            captions_file="val_captions.csv",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="AllCaptions", max_words=30),
                dict(type="Resize", size=224),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="RetrievalMetric", k=32),
        batch_size=16,
    ),
    grounding=dict(
        dataset=dict(
            type="ImageTable",
            image_root="photos",
            boxes_file="val_boxes.csv",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickPhrases"),
                dict(type="Resize", size=224),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="GroundingMetric"),
        batch_size=16,
    ),
)
