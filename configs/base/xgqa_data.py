"""xGQA: training on GQA in English, tests in eight languages, in IGLUE's files.

Arrays of `img_id`, `sent`, `question_id` and `label` (an object from answer to weight); the answers to choose from
are those of `trainval_ans2label.json`. Published: 40 tokens; training questions have 30 words at most, the others 50
and are not cut into fewer tokens. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: GqaQuestions(questions_file="train_balanced_questions.json", image_root="images")
    evaluations.val: GqaQuestions(questions_file="val_balanced_questions.json", image_root="images")
    evaluations.*: GqaQuestions(questions_file="testdev_balanced_questions_de.json", image_root="images")
"""

data_root = "data/xgqa"

loading = dict(fresh=("objectives.answer",))
# XLM-R's tables: one type of token, positions from 2 on.
objectives = dict(
    answer=dict(type="AnswerGeneration", decoder=dict(depth=6, token_types=1, first_position=2, max_positions=514))
)
keys = dict(image="img_id", question="sent", answers="label", label=None, id=None, extras=("question_id",))
streams = dict(
    image=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="gqa/train.json",
            image_root="images",
            file_pattern="{}.jpg",
            keys=keys,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickQuestion", max_words=30, clean="published"),
                dict(type="PickAnswers"),
                dict(type="RandomResizedCrop", size=384, scale=(0.5, 1.0)),
                dict(type="Flip"),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        batch_size=32,  # records, of which all pairs are kept
        objectives=("answer",),
        num_workers=4,
    ),
)
files = dict(
    type="JsonLines",
    image_root="images",
    file_pattern="{}.jpg",
    keys=keys,
    pipeline=[
        dict(type="LoadImage"),
        dict(type="PickQuestion", max_words=50, clean="published"),
        dict(type="PickAnswers"),
        dict(type="Resize", size=384),
        dict(type="PackSample"),
    ],
)
common = dict(
    collate=dict(type="PairCollate", max_tokens=None, masking=None),
    metric=dict(type="VQAMetric", answer_list="gqa/trainval_ans2label.json", k=128, first_token="twice"),
    batch_size=4,
    num_workers=4,
)
evaluations = dict(
    val=dict(dataset=dict(**files, ann_file="gqa/valid.json"), **common),
    bn=dict(dataset=dict(**files, ann_file="xGQA/bn/test.json"), **common, at_end=True),
    de=dict(dataset=dict(**files, ann_file="xGQA/de/test.json"), **common, at_end=True),
    en=dict(dataset=dict(**files, ann_file="xGQA/en/test.json"), **common, at_end=True),
    id=dict(dataset=dict(**files, ann_file="xGQA/id/test.json"), **common, at_end=True),
    ko=dict(dataset=dict(**files, ann_file="xGQA/ko/test.json"), **common, at_end=True),
    pt=dict(dataset=dict(**files, ann_file="xGQA/pt/test.json"), **common, at_end=True),
    ru=dict(dataset=dict(**files, ann_file="xGQA/ru/test.json"), **common, at_end=True),
    zh=dict(dataset=dict(**files, ann_file="xGQA/zh/test.json"), **common, at_end=True),
)
# Without English, as the benchmark counts.
val_cfg = dict(
    type="EvaluationLoop",
    means={
        "test/exact_match": [
            "bn/exact_match",
            "de/exact_match",
            "id/exact_match",
            "ko/exact_match",
            "pt/exact_match",
            "ru/exact_match",
            "zh/exact_match",
        ]
    },
)
test_cfg = val_cfg
keep_best = "val/exact_match"
