"""The toy world as training streams and evaluations; nothing is downloaded, everything comes from a seed.

No random crops: they would make "small", "large" and "at the top left" untrue.
"""

tokenizer = dict(type="ToyTokenizer")
middle = (0.5, 0.5, 0.5)  # pixels from -1 to 1

streams = dict(
    image=dict(
        dataset=dict(
            type="ToyWorld",
            kind="image",
            num_scenes=1_000_000,
            scale=1.3,
            max_overlap=0.05,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption"),
                dict(type="PackSample", mean=middle, std=middle),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=48, masking=dict(prob=0.3, max_masks=10)),
        batch_size=24,  # records, of which all pairs are kept
        objectives=("itc", "itm", "mlm"),
    ),
    region=dict(
        dataset=dict(
            type="ToyWorld",
            kind="region",
            num_scenes=1_000_000,
            seed=1,
            scale=1.3,
            max_overlap=0.05,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickRegions", max_regions=7, training=False),
                dict(type="PackSample", mean=middle, std=middle),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=48, masking=dict(prob=0.3, max_masks=10)),
        batch_size=64,  # pairs: so many of the regions of these images are kept, at random
        max_images=16,  # records (images) read for a batch
        objectives=("itc", "itm", "mlm", "bbox"),
    ),
    video=dict(
        dataset=dict(
            type="ToyWorld",
            kind="video",
            num_scenes=1_000_000,
            objects=(1, 2),
            pipeline=[
                dict(type="SampleFrames", num_frames=3),
                dict(type="PickCaption"),
                dict(type="PackSample", mean=middle, std=middle),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=48, masking=dict(prob=0.3, max_masks=10)),
        batch_size=4,  # records, of which all pairs are kept
        objectives=("itc", "itm", "mlm"),
    ),
)

# Scenes that training never sees, of two to four things, no two of them with the same caption.
evaluations = dict(
    image_retrieval=dict(
        dataset=dict(
            type="ToyWorld",
            kind="image",
            split="test",
            num_scenes=256,
            objects=(2, 4),
            distinct_captions=True,
            scale=1.3,
            max_overlap=0.05,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption"),
                dict(type="Resize", size=64),  # toy images have this size; others may be asked about
                dict(type="PackSample", mean=middle, std=middle),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=48, masking=None),
        metric=dict(type="RetrievalMetric", k=16),
        batch_size=64,
    ),
    grounding=dict(
        dataset=dict(
            type="ToyWorld",
            kind="region",
            split="test",
            num_scenes=256,
            objects=(2, 4),
            distinct_captions=True,
            scale=1.3,
            max_overlap=0.05,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickPhrases"),
                dict(type="Resize", size=64),
                dict(type="PackSample", mean=middle, std=middle),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=48, masking=None),
        metric=dict(type="GroundingMetric"),
        batch_size=64,
    ),
    video_retrieval=dict(
        dataset=dict(
            type="ToyWorld",
            kind="video",
            split="test",
            num_scenes=64,
            objects=(1, 2),
            distinct_captions=True,
            pipeline=[
                dict(type="SampleFrames", num_frames=3, training=False),
                dict(type="PickCaption"),
                dict(type="PackSample", mean=middle, std=middle),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=48, masking=None),
        metric=dict(type="RetrievalMetric", k=16),
        batch_size=32,
    ),
)
