import json

import numpy as np
import pytest

from x2vlm.data.record import RecordError
from x2vlm.data.transforms.answers import AnswerLabel, PickAnswers
from x2vlm.data.transforms.class_names import read_classes
from x2vlm.data.transforms.images.load_crop_flip import Flip, LoadImage, RandomResizedCrop, Resize
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.texts.text_transforms import PickQuestion, PickText

TEN = ["yes"] * 6 + ["no"] * 3 + ["maybe"]


def record(**fields):
    return {"where": "train.json[3]", "id": "7", "texts": ["is it red"], **fields}


def image(height=4, width=6, level=0):
    return np.full((height, width, 3), level, np.uint8)


def test_a_label_is_found_by_its_name_or_is_a_number_already():
    names = ("entailment", "neutral", "contradiction")
    assert PickLabel(names)(record(label="neutral"))["labels"] == [1]
    assert PickLabel()(record(label="2"))["labels"] == [2]
    assert PickLabel(("0", "1"))(record(label=1))["labels"] == [1]


@pytest.mark.parametrize("classes", [("False", "True"), ("false", "true"), None])
def test_true_and_false_are_classes(classes):
    assert [PickLabel(classes)(record(label=label))["labels"] for label in (True, False)] == [[1], [0]]


def test_true_and_false_can_be_words():
    assert [PickLabel()(record(label=label))["labels"] for label in ("True", "false")] == [[1], [0]]


def test_an_unknown_label_is_an_error_or_none_at_all():
    with pytest.raises(RecordError, match=r"train\.json\[3\]: its label '-' is none of the 2 classes"):
        PickLabel(("a", "b"))(record(label="-"))
    assert PickLabel(("a", "b"), unknown="ignore")(record(label="-"))["labels"] == [-100]


def test_a_number_beyond_the_classes_of_the_model_is_an_error_or_no_label():
    told, ignored = PickLabel(), PickLabel(unknown="ignore")
    told.num_classes = ignored.num_classes = 2
    assert told(record(label="1"))["labels"] == [1]
    with pytest.raises(RecordError, match=r"train\.json\[3\]: its label is 2, but the model has classes from 0 to 1"):
        told(record(label=2))
    assert ignored(record(label=2))["labels"] == [-100]


def test_a_number_to_predict_stays_a_fraction():
    assert PickLabel(number=True)(record(label="3.8"))["labels"] == [3.8]
    with pytest.raises(RecordError, match="its label is 'high'; expected a number"):
        PickLabel(number=True)(record(label="high"))


def test_an_image_without_texts_has_a_label_too():
    labelled = PickLabel()({"where": "w", "frames": [image()], "label": 3})
    sample = PackSample()(labelled)
    assert (sample.labels, sample.texts, len(sample.ids)) == ([3], [], 1)
    assert sample.boxes_xyxy is None and sample.pixels.shape == (3, 4, 6)


@pytest.mark.parametrize("content", ['["yes", "no"]', '{"yes": 0, "no": 1}', "yes\nno\n"])
def test_classes_come_from_a_list_an_object_or_lines(tmp_path, content):
    path = tmp_path / ("answers.txt" if content[0] == "y" else "answers.json")
    path.write_text(content)
    assert read_classes(path, "classes") == {"yes": 0, "no": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[1, 2]", "expected a list of names"), ("{", "is broken"), ('["a", "a"]', "names a class twice")],
)
def test_a_file_that_is_no_list_of_classes_is_named(tmp_path, content, reason):
    (tmp_path / "answers.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        PickLabel(tmp_path / "answers.json")


def test_an_answer_weighs_the_share_of_annotators_who_gave_it():
    answers = PickAnswers()(record(answers=TEN))["text_answers"]
    assert [(answer, pytest.approx(weight)) for answer, weight in answers[0]] == [
        ("yes", 0.6),
        ("no", 0.3),
        ("maybe", 0.1),
    ]


def test_answers_of_visual_genome_weigh_one_half_and_given_weights_are_kept():
    assert PickAnswers(weight=0.5)(record(answers="red"))["text_answers"] == [[("red", 0.5)]]
    assert PickAnswers()(record(answers=[["red", 0.9], ("blue", 0.1)]))["text_answers"] == [
        [("red", 0.9), ("blue", 0.1)]
    ]


def test_metrics_get_the_answers_of_every_annotator():
    for transform in (PickAnswers(), AnswerLabel(["yes"])):
        assert transform(record(answers=TEN, extras={"question_id": 5}))["extras"] == {"question_id": 5, "answers": TEN}


def test_the_class_of_a_question_is_its_most_frequent_answer_if_it_is_known():
    assert AnswerLabel(["no", "yes"])(record(answers=TEN))["labels"] == [1]
    assert AnswerLabel(["no"])(record(answers=TEN))["labels"] == [-100]
    assert AnswerLabel(["no"])(record(answers="no"))["labels"] == [0]


def test_all_known_answers_of_a_question_can_count_with_their_weight():
    label = AnswerLabel({"no": 0, "maybe": 4}, soft=True)(record(answers=TEN))["labels"][0]
    assert label == {0: pytest.approx(0.3), 4: pytest.approx(0.1)}


@pytest.mark.parametrize("answers", [None, [], [""], [["red"]], [3]])
def test_what_is_no_answer_is_an_error_of_its_record(answers):
    with pytest.raises(RecordError, match=r"train\.json\[3\]"):
        PickAnswers()(record(answers=answers))


def test_a_question_keeps_its_inner_spaces():
    fields = {"where": "w", "question": " What's  the dog-house's  color? "}
    assert PickQuestion()(fields)["texts"] == [" what s  the dog house s  color"]
    assert PickQuestion(max_words=3)(fields)["texts"] == [" what s"]  # the first of three is empty
    assert PickQuestion(language="de")({"where": "w", "question": {"de": "Wo?"}})["texts"] == ["wo"]
    with pytest.raises(RecordError, match="there is no question"):
        PickQuestion()({"where": "w"})


@pytest.mark.parametrize(
    "fields", [{"question": "Which side?", "answers": ["left"] * 3}, {"question": "the right one?"}]
)
def test_an_image_is_not_mirrored_where_question_or_answer_mention_left_or_right(fields):
    frame = image()
    frame[:, :2] = 200
    before = record(frames=[frame], has_box=[False], ids=["7"], **fields)
    assert Flip(1.0)(before)["frames"][0] is frame
    assert not np.array_equal(Flip(1.0)(before | {"question": "what", "answers": ["red"]})["frames"][0], frame)


def test_a_sentence_and_its_pair_are_read_as_one():
    both = {"where": "w", "text": "A  Dog.", "text_pair": "An animal."}
    assert PickText()(both)["texts"] == [("a dog.", "an animal.")]
    assert PickText(clean=False)(both)["texts"] == [("A  Dog.", "An animal.")]
    with pytest.raises(RecordError, match="fewer than 2 words"):
        PickText(clean=False, minimum_words=2)({"where": "w", "text": "Dog"})


def test_images_that_are_read_together_are_loaded_and_cropped_one_by_one(seed):
    sources = [image(8, 10, 10), image(20, 12, 200)]
    loaded = LoadImage()({"where": "w", "images": sources})
    cropped = RandomResizedCrop(4)(loaded | {"texts": ["x"], "has_box": [False], "ids": ["7"]})
    assert [frame.shape for frame in cropped["frames"]] == [(4, 4, 3)] * 2
    sample = PackSample(mean=(0, 0, 0), std=(1, 1, 1))(cropped)
    assert (sample.pixels.shape, sample.num_contexts, sample.boxes_xyxy) == ((2, 3, 4, 4), 2, None)
    assert [round(255 * entry) for entry in sample.pixels.amax(dim=(1, 2, 3)).tolist()] == [10, 200]


def test_images_that_are_read_together_are_mirrored_each_by_its_own_chance(seed):
    frame = image()
    frame[:, :2] = 200
    before = record(images=[None, None], frames=[frame, frame], has_box=[False], ids=["7"])
    mirrored = [tuple(entry is not frame for entry in Flip(0.5)(before)["frames"]) for _ in range(40)]
    assert set(mirrored) == {(a, b) for a in (True, False) for b in (True, False)}


def test_images_of_several_sizes_cannot_be_read_together():
    loaded = LoadImage()({"where": "w", "images": [image(8, 10), image(8, 8)]}) | record(has_box=[False])
    with pytest.raises(ValueError, match="its images have several sizes"):
        PackSample()(loaded)
    assert PackSample()(Resize(4)(loaded)).num_contexts == 2


def test_a_record_without_image_is_named():
    with pytest.raises(RecordError, match="there is no image"):
        LoadImage()({"where": "w", "images": []})


def test_the_list_of_answers_is_written_and_read_alike(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(["ja", "weiß"], ensure_ascii=False), encoding="utf-8")
    assert AnswerLabel(tmp_path / "a.json")(record(answers="weiß"))["labels"] == [1]


@pytest.mark.parametrize("pick", [AnswerLabel(["yes", "no"]), PickLabel(["yes", "no"], unknown="ignore")])
def test_a_list_that_knows_hardly_any_label_is_an_error_after_the_first_records(pick):
    for _ in range(99):
        assert pick(record(answers="YES", label="YES"))["labels"] == [-100]
    with pytest.raises(ValueError, match=r"100 of the first 100 records have no label.*'YES', which is spelt 'yes'"):
        pick(record(answers="YES", label="YES"))


def test_some_unknown_labels_are_in_order():
    label = AnswerLabel(["yes", "no"])
    for number in range(300):
        label(record(answers="maybe" if number % 10 else "yes"))


@pytest.mark.parametrize("content", ["\ufeffyes  \nno\t\n", '\ufeff["yes ", "no"]', '\ufeff{"yes ": 0, "no": 1}'])
def test_marks_and_blanks_around_classes_of_a_file_do_not_count(tmp_path, content):
    path = tmp_path / ("a.txt" if "[" not in content and "{" not in content else "a.json")
    path.write_text(content, encoding="utf-8")
    assert read_classes(path, "classes") == {"yes": 0, "no": 1}


def test_one_empty_answer_costs_that_answer_alone():
    picked = PickAnswers()(record(answers=["red", "", "red", " \u200b"]))
    assert picked["text_answers"] == [[("red", 0.5)]] and picked["extras"]["answers"] == ["red", "red"]


def test_answers_as_the_benchmark_publishes_them_are_read():
    answers = [{"answer": "net", "answer_confidence": "maybe", "answer_id": 1}, {"answer": "pit", "answer_id": 2}]
    assert PickAnswers()(record(answers=answers))["text_answers"] == [[("net", 0.5), ("pit", 0.5)]]
