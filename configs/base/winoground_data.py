"""Winoground: two images and two captions of the same words a line. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

data_root = "data/winoground"

evaluations = dict(
    winoground=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="examples.jsonl",
            image_root="images",
            file_pattern="{}.png",
            keys=dict(
                images=dict(first="image_0", second="image_1"),
                caption=dict(first="caption_0", second="caption_1"),
                extras=("collapsed_tag", "tag"),
            ),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="Resize", size=384),
                dict(type="AllCaptions"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="WinogroundMetric", scorer=("itc", "itm", "itc+itm")),
        batch_size=16,
        num_workers=4,
    ),
)
