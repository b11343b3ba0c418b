"""xGQA: training on GQA in English, tests in eight languages: JSON arrays of `image`, `question`, `answer`, `language`.

The sources do not say how the files of the published numbers were laid out, nor among which answers was chosen; paths
start from `data_root`.

Raw files: `GqaQuestions(questions_file="train_balanced_questions.json", image_root="images")`.
"""

data_root = "data/xgqa"

loading = dict(fresh=("objectives.answer",))
# XLM-R's tables: one type of token, positions from 2 on.
objectives = dict(
    answer=dict(type="AnswerGeneration", decoder=dict(depth=6, token_types=1, first_position=2, max_positions=514))
)
keys = dict(id=None, extras=("question_id", "language"))
streams = dict(
    image=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="gqa_train.json",
            image_root="images",
            keys=dict(id=None),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickQuestion", max_words=40, clean="published"),
                dict(type="PickAnswers"),
                dict(type="RandomResizedCrop", size=384, scale=(0.5, 1.0)),
                dict(type="Flip"),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=64, masking=None),
        batch_size=16,  # records, of which all pairs are kept
        objectives=("answer",),
        num_workers=4,
    ),
)
evaluations = dict(
    test=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="xgqa_*.json",
            image_root="images",
            keys=keys,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickQuestion", max_words=40, clean="published"),
                dict(type="PickAnswers"),
                dict(type="Resize", size=384),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=64, masking=None),
        metric=dict(type="VQAMetric", answer_list="answer_list.json", k=128, first_token="twice", by=("language",)),
        batch_size=16,
        num_workers=4,
    ),
)
