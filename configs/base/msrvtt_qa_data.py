"""MSRVTT-QA: JSON arrays of `video`, `question`, `answer`; a choice among answers. Paths start from `data_root`.

`answers.json` is the list of answers, 1500 as published. Frames are those at one a second; training questions have 40
words at most, the others 50.

Raw files in place of these, by data set (docs/public_data.md):

    *: VideoQuestions(ann_file="train_qa.json", video_root="videos")
"""

data_root = "data/msrvtt_qa"

loading = dict(allow_missing=("objectives.classification", "frame_positions"))
objectives = dict(classification=dict(type="Classification", num_classes=1500))
keys = dict(image=None, id=("question_id", "id"))
test_pipeline = [
    dict(type="SampleFrames", fps=1, num_frames=5, training=False),
    dict(type="PickQuestion", max_words=50, clean="published"),
    dict(type="AnswerLabel", classes="answers.json", soft=False),
    dict(type="Resize", size=320),
    dict(type="PackSample"),
]
streams = dict(
    video=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="train.json",
            image_root="videos",
            keys=keys,
            pipeline=[
                dict(type="SampleFrames", fps=1, num_frames=5),
                dict(type="PickQuestion", max_words=40, clean="published"),
                dict(type="AnswerLabel", classes="answers.json", soft=False),
                dict(type="RandomResizedCrop", size=320, scale=(0.5, 1.0), per_frame=True),
                dict(type="Flip", per_frame=True),
                dict(type="RandAugment", per_frame=True),
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
    val=dict(
        dataset=dict(type="JsonLines", ann_file="val.json", image_root="videos", keys=keys, pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="ClassificationMetric", unknown="wrong"),
        batch_size=32,
        num_workers=4,
    ),
    test=dict(
        dataset=dict(type="JsonLines", ann_file="test.json", image_root="videos", keys=keys, pipeline=test_pipeline),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="ClassificationMetric", unknown="wrong"),
        batch_size=32,
        num_workers=4,
        at_end=True,
    ),
)
keep_best = "val/accuracy"
