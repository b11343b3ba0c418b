"""MSRVTT retrieval (1kA split): JSON arrays of `video`, `caption`; 5 frames of those at one a second.

The best epoch is chosen by the 497 videos of the validation split, which are not in `msrvtt_train.json` then; the test
set is read once, at the end. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.video: MsrVtt(ann_file="MSRVTT_data.json", video_root="videos", videos="MSRVTT_train.9k.csv",
        captions_apart=True)
    evaluations.*: MsrVtt(ann_file="MSRVTT_data.json", video_root="videos", videos="MSRVTT_JSFUSION_test.csv")
"""

data_root = "data/msrvtt"

loading = dict(allow_missing=("frame_positions",))
objectives = dict(
    itc=dict(type="ITC", positives="ids", grad="official"),
    itm=dict(type="ITM", positives="ids"),
)
keys = dict(image=None, id="video")
streams = dict(
    video=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="msrvtt_train.json",
            image_root="videos",
            keys=keys,
            pipeline=[
                dict(type="SampleFrames", num_frames=5, fps=1),
                dict(type="PickCaption", max_words=30),
                dict(type="RandomResizedCrop", size=384, scale=(0.5, 1.0), per_frame=True),
                dict(type="Flip", careful=False, per_frame=True),
                dict(type="RandAugment", per_frame=True),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        batch_size=16,  # records, of which all pairs are kept
        objectives=("itc", "itm"),
        num_workers=4,
    ),
)
test_pipeline = [
    dict(type="SampleFrames", num_frames=5, fps=1, training=False),
    dict(type="AllCaptions", max_words=30),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
evaluations = dict(
    val=dict(
        dataset=dict(
            type="JsonLines", ann_file="msrvtt_val.json", image_root="videos", keys=keys, pipeline=test_pipeline
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="RetrievalMetric", k=32),
        batch_size=16,
        num_workers=4,
    ),
    retrieval=dict(
        dataset=dict(
            type="JsonLines", ann_file="msrvtt_test.json", image_root="videos", keys=keys, pipeline=test_pipeline
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="RetrievalMetric", k=32),
        batch_size=16,
        num_workers=4,
        at_end=True,
    ),
)
keep_best = "val/t2i_r1"
