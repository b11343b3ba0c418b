"""NExT-QA as published: multiple choice among five answers, in the benchmark's own CSV tables.

`video, ..., question, answer, qid, type, a0, ..., a4`, where `answer` is the number of the right one, and a JSON object
from video to path. 8 frames of 224 pixels, of those at one a second. Published: images are mirrored unless question or
answer tell left from right; training questions have 40 words at most, the others 50. Paths start from `data_root`.
"""

data_root = "data/next_qa"

loading = dict(allow_missing=("objectives.multiple_choice", "frame_positions"))
objectives = dict(multiple_choice=dict(type="MultipleChoice", choices=5))
table = dict(
    type="Table",
    columns=dict(
        video="video",
        question="question",
        choices=("a0", "a1", "a2", "a3", "a4"),
        label="answer",
        extras=("qid", "type"),
    ),
    file_map="map_vid_vidorID.json",
    file_pattern="{}.mp4",
    image_root="videos",
)
test_pipeline = [
    dict(type="SampleFrames", fps=1, num_frames=8, training=False),
    dict(type="PickChoices", count=5, max_words=50),
    dict(type="Resize", size=224),
    dict(type="PackSample"),
]
streams = dict(
    video=dict(
        dataset=dict(
            **table,
            ann_file="train.csv",
            pipeline=[
                dict(type="SampleFrames", fps=1, num_frames=8),
                dict(type="PickChoices", count=5, max_words=40),
                dict(type="RandomResizedCrop", size=224, scale=(0.5, 1.0), per_frame=True),
                dict(type="Flip", per_frame=True),
                dict(type="RandAugment", per_frame=True),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=64, masking=None),
        batch_size=16,
        objectives=("multiple_choice",),
        num_workers=4,
    ),
)
common = dict(
    collate=dict(type="PairCollate", max_tokens=64, masking=None),
    metric=dict(type="MultipleChoiceMetric"),
    batch_size=32,
    num_workers=4,
)
evaluations = dict(
    val=dict(dataset=dict(**table, ann_file="val.csv", pipeline=test_pipeline), **common),
    test=dict(dataset=dict(**table, ann_file="test.csv", pipeline=test_pipeline), **common, at_end=True),
)
keep_best = "val/accuracy"
