"""VQA v2 as JSON arrays of `image`, `question`, `answer` (ten), `question_id`. Paths start from `data_root`.

Published: training on train, val and Visual Genome, whose answers weigh 0.5, with 30 words of a question at most;
questions of the test have 50 words at most and are not cut into fewer tokens; test answers go to the server as
`vqa_test.json` in the work folder. `answer_list.json` holds the 3,128 candidates (arXiv v1: 3,129), in whose scores the
first token counts twice.

The best epoch is chosen by the first 5,000 questions of `vqa_val.json`, which are not trained on; the published runs
train on these too, and choose none: --cfg-options streams.image.dataset.datasets.1.subset.start=0.

Raw files in place of these, by data set (docs/public_data.md):

    *.image.datasets.0: VqaQuestions(questions_file="v2_OpenEnded_mscoco_train2014_questions.json",
        annotations_file="v2_mscoco_train2014_annotations.json", image_root="train2014")
    *.image.datasets.1: VqaQuestions(questions_file="v2_OpenEnded_mscoco_val2014_questions.json",
        annotations_file="v2_mscoco_val2014_annotations.json", image_root="val2014")
    *.image.datasets.2: VisualGenomeQuestions(image_data="image_data.json", questions="question_answers.json",
        image_root=".")
    *.val: VqaQuestions(questions_file="v2_OpenEnded_mscoco_val2014_questions.json",
        annotations_file="v2_mscoco_val2014_annotations.json", image_root="val2014")
    *.test: VqaQuestions(questions_file="v2_OpenEnded_mscoco_test2015_questions.json", image_root="test2015")
"""

data_root = "data/vqa"

# Published: all of the decoder learns at the rate of new parameters.
loading = dict(fresh=("objectives.answer",))
objectives = dict(answer=dict(type="AnswerGeneration", decoder=dict(depth=6)))
keys = dict(extras=("question_id",))
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="PickQuestion", max_words=30, clean="published"),
    dict(type="PickAnswers"),
    dict(type="RandomResizedCrop", size=768, scale=(0.5, 1.0)),
    dict(type="Flip"),
    dict(type="RandAugment"),
    dict(type="PackSample"),
]
genome_pipeline = [
    dict(type="LoadImage"),
    dict(type="PickQuestion", max_words=30, clean="published"),
    dict(type="PickAnswers", weight=0.5),
    dict(type="RandomResizedCrop", size=768, scale=(0.5, 1.0)),
    dict(type="Flip"),
    dict(type="RandAugment"),
    dict(type="PackSample"),
]
streams = dict(
    image=dict(
        dataset=dict(
            type="Concat",
            datasets=[
                dict(
                    type="JsonLines", ann_file="vqa_train.json", image_root="images", keys=keys, pipeline=train_pipeline
                ),
                dict(
                    type="JsonLines",
                    ann_file="vqa_val.json",
                    image_root="images",
                    keys=keys,
                    pipeline=train_pipeline,
                    subset=dict(start=5000),
                ),
                dict(type="JsonLines", ann_file="vg_qa.json", image_root="images", keys=keys, pipeline=genome_pipeline),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        batch_size=8,  # records, of which all pairs are kept
        objectives=("answer",),
        num_workers=4,
    ),
)
evaluations = dict(
    val=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="vqa_val.json",
            image_root="images",
            keys=keys,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickQuestion", max_words=50, clean="published"),
                dict(type="PickAnswers"),
                dict(type="Resize", size=768),
                dict(type="PackSample"),
            ],
            subset=dict(stop=5000),
        ),
        collate=dict(type="PairCollate", max_tokens=None, masking=None),
        metric=dict(type="VQAMetric", answer_list="answer_list.json", k=128, first_token="twice"),
        batch_size=16,
        num_workers=4,
    ),
    test=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="vqa_test.json",
            image_root="images",
            keys=keys,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickQuestion", max_words=50, clean="published"),
                dict(type="Resize", size=768),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=None, masking=None),
        metric=dict(
            type="VQAMetric", answer_list="answer_list.json", k=128, first_token="twice", save_to="vqa_test.json"
        ),
        batch_size=16,
        num_workers=4,
        at_end=True,
    ),
)
keep_best = "val/vqa_accuracy"
