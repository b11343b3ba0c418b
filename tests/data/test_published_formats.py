"""The file format of every published task: a tiny file of that shape, the config that reads it, what comes out.

Shapes are those of the published fine-tuning files or of the benchmark's own files, as far as they are known; see the
table of docs/data.md.
"""

import json

import pytest
import torch

from x2vlm.building import build
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.data_root import with_data_root
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.registry import DATASETS

TOKENIZER = bert_vocab(["a", "red", "dog", "##s"])
LOAD, PACK = dict(type="LoadImage"), dict(type="PackSample")
QUESTION = [LOAD, dict(type="PickQuestion"), dict(type="PickAnswers"), PACK]
CAPTION, SMALL = dict(type="PickCaption"), dict(type="Resize", size=4)


@pytest.fixture
def root(tmp_path, png):
    """A data root with images and videos by the names that the files use."""
    for name in (
        "a.png",
        "b.png",
        "val2014/COCO_val2014_000000000009.png",
        "images/ex_7_img_0.png",
        "images/ex_7_img_1.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(size=(10, 8)))
    return tmp_path


@pytest.fixture
def made(root):
    """Writes a file below the data root and builds the adapter that reads it, with paths from the root."""

    def made(name, content, option="ann_file", **cfg):
        text = content if isinstance(content, str) else json.dumps(content)
        (root / name).write_text(text, encoding="utf-8")
        cfg = {"type": "JsonLines", option: name, "image_root": ".", **cfg}
        return build(DATASETS, with_data_root(cfg, str(root)))

    return made


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def batch(data, **options):
    return PairCollate(TOKENIZER, masking=None, **options)([data[n] for n in range(len(data))])


def test_retrieval_for_training(made):
    rows = [
        {"image": "a.png", "caption": "A dog.", "image_id": "coco_9"},
        {"image": "a.png", "caption": "red", "image_id": "coco_9"},
    ]
    actual = batch(
        made("coco_train.json", rows, pipeline=[LOAD, dict(type="PickCaption", max_words=30), PACK]), max_tokens=None
    )
    assert actual.texts == ["a dog", "red"] and actual.ids[0] == actual.ids[1]


def test_retrieval_for_evaluation(made):
    rows = [{"image": name, "caption": ["a", "red", "dog"]} for name in ("a.png", "b.png")]
    actual = batch(made("coco_test.json", rows, pipeline=[LOAD, dict(type="AllCaptions"), PACK]))
    assert actual.owner.tolist() == [0, 0, 0, 1, 1, 1] and len(set(actual.ids.tolist())) == 2


def test_retrieval_in_several_languages(made):
    rows = [{"image": "a.png", "caption": {"en": ["a dog"], "de": ["ein Hund"]}, "image_id": 1}]
    assert batch(made("all.json", rows, pipeline=[LOAD, dict(type="PickCaption", language="de"), PACK])).texts == [
        "ein hund"
    ]
    rows = [{"image": "a.png", "en": "a dog", "cs": "pes"}]
    keys = dict(caption=dict(en="en", cs="cs"))
    data = made(
        "multi30k.jsonl", lines(*rows), keys=keys, pipeline=[LOAD, dict(type="AllCaptions", language="cs"), PACK]
    )
    assert batch(data).texts == ["pes"]


def test_vqa_joins_its_own_questions_with_those_of_visual_genome(made, root):
    own = {
        "question_id": 5,
        "question": "What's it?",
        "image": "a.png",
        "answer": ["dog"] * 9 + ["cat"],
        "dataset": "vqa",
    }
    genome = {"question_id": 6, "question": "who", "image": "b.png", "answer": "red", "dataset": "vg"}
    for name, row in (("vqa_train.json", own), ("vg_qa.json", genome)):
        (root / name).write_text(json.dumps([row]))
    half = [LOAD, dict(type="PickQuestion"), dict(type="PickAnswers", weight=0.5), PACK]
    parts = [("vqa_train.json", QUESTION), ("vg_qa.json", half)]
    sets = [
        dict(type="JsonLines", ann_file=name, image_root=".", keys=dict(extras=("question_id",)), pipeline=steps)
        for name, steps in parts
    ]
    actual = batch(build(DATASETS, with_data_root(dict(type="Concat", datasets=sets), str(root))))
    assert actual.texts == ["what s it", "who"]
    assert actual.answer_owner.tolist() == [0, 0, 1]
    torch.testing.assert_close(actual.answer_weights, torch.tensor([0.9, 0.1, 0.5]))
    assert [entry["question_id"] for entry in actual.extras] == [5, 6] and len(actual.extras[0]["answers"]) == 10


def test_vqa_for_the_server_has_no_answers(made):
    rows = [{"question_id": 5, "question": "who?", "image": "a.png"}]
    data = made(
        "vqa_test.json", rows, keys=dict(extras=("question_id",)), pipeline=[LOAD, dict(type="PickQuestion"), PACK]
    )
    assert batch(data).answer_ids is None and data[0].extras["question_id"] == 5


def test_vqa_with_numbers_for_images(made):
    rows = [{"question_id": 5, "question": "who?", "image_id": 9, "answers": ["dog"]}]
    options = dict(image_root="val2014", file_pattern="COCO_val2014_{:012d}.png", keys=dict(image="image_id"))
    assert batch(made("v.json", rows, pipeline=QUESTION, **options)).pixels.shape == (1, 3, 8, 10)


def test_vqa_as_classification(made, root):
    (root / "answers.json").write_text('["dog", "cat"]')
    rows = [{"question": "who?", "image": "a.png", "answer": ["dog", "dog", "fox", "cat"]}]
    steps = [LOAD, dict(type="PickQuestion"), dict(type="AnswerLabel", classes="answers.json", soft=True), PACK]
    assert batch(made("x.json", rows, pipeline=steps), num_classes=2).label_weights.tolist() == [[0.5, 0.25]]


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        ({"images": ["a.png", "b.png"], "sentence": "a dog", "label": "True"}, dict(caption="sentence")),
        (
            {
                "left_img": "a.png",
                "right_img": "b.png",
                "caption": "a dog",
                "label": True,
                "id": "sw-3",
                "language": "sw",
            },
            dict(images=dict(left="left_img", right="right_img"), extras=("language",)),
        ),
    ],
    ids=["nlvr2", "marvl"],
)
def test_a_sentence_about_two_images(made, row, keys):
    steps = [LOAD, CAPTION, dict(type="PickLabel", classes=["False", "True"]), SMALL, PACK]
    actual = batch(made("nlvr2.json", [row], keys=keys, pipeline=steps))
    assert actual.pixels.shape == (2, 3, 4, 4) and actual.text_owner.tolist() == [0, 0]
    assert actual.labels.tolist() == [1] and actual.texts == ["a dog"]


def test_captions_in_the_karpathy_split(made):
    rows = [{"image": "a.png", "caption": "A red dog.", "image_id": "9"}]
    data = made("coco_karpathy_train.json", rows, pipeline=[LOAD, dict(type="PickCaption", clean=False), PACK])
    assert data[0].texts == ["A red dog."] and data[0].ids == ["9"]


def test_expressions_with_one_box_each(made):
    rows = [{"image": "a.png", "text": "left dog", "bbox": [2, 1, 4, 4], "ref_id": 77, "height": 8, "width": 10}]
    keys = dict(caption="text", bb="bbox", extras=("ref_id", "height", "width"))
    actual = batch(
        made("refcoco+_val.json", rows, keys=keys, kind="region", pipeline=[LOAD, dict(type="PickPhrases"), PACK])
    )
    assert actual.texts == ["left dog"] and actual.has_box.tolist() == [True] and actual.extras[0]["ref_id"] == 77
    torch.testing.assert_close(actual.boxes_xyxy, torch.tensor([[0.2, 0.125, 0.6, 0.625]]))
    data = made(
        "t.json",
        rows,
        keys=keys,
        pipeline=[LOAD, dict(type="PickRegions", max_regions=1), dict(type="Flip"), SMALL, PACK],
    )
    assert data[0].has_box.tolist() == [True]


@pytest.fixture
def clip(root, write_clip):
    write_clip(frames=6, name="video7.mp4")


FRAMES = dict(type="SampleFrames", num_frames=2, training=False)


@pytest.mark.usefixtures("clip")
def test_videos_with_captions(made):
    rows = [{"video": "video7.mp4", "caption": ["a dog", "red"]}]
    actual = batch(made("msrvtt_test.jsonl", lines(*rows), pipeline=[FRAMES, dict(type="AllCaptions"), PACK]))
    assert actual.pixels.shape[:2] == (1, 2) and actual.owner.tolist() == [0, 0]


@pytest.mark.usefixtures("clip")
@pytest.mark.parametrize(
    ("name", "content", "cfg"),
    [
        ("qa.json", [{"video": "video7.mp4", "question": "who?", "answer": "dog"}], {}),
        (
            "msrvtt_qa.json",
            [{"answer": "dog", "category_id": 3, "id": 8, "question": "who?", "video_id": 7}],
            dict(keys=dict(video="video_id"), file_pattern="video{}.mp4"),
        ),
        (
            "nextqa.csv",
            "video,frame_count,width,height,question,answer,qid,type\n7,6,32,16,who?,dog,8,CW\n",
            dict(
                type="Table",
                columns=dict(video="video", question="question", answers="answer", extras=["qid", "type"]),
                file_pattern="{}.mp4",
                file_map="map.json",
            ),
        ),
    ],
    ids=["published", "msrvtt-qa", "next-qa"],
)
def test_videos_with_questions(made, root, name, content, cfg):
    (root / "map.json").write_text('{"7": "video7"}')
    steps = [FRAMES, dict(type="PickQuestion"), dict(type="AnswerLabel", classes=["cat", "dog"]), PACK]
    actual = batch(made(name, content, pipeline=steps, **cfg))
    assert actual.labels.tolist() == [1] and actual.texts == ["who"] and actual.pixels.shape[:2] == (1, 2)


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"image": "a.png", "sentence": "a dog", "label": "neutral"}, dict(keys=dict(caption="sentence"))),
        (
            {"Flickr30K_ID": "a", "sentence1": "x", "sentence2": "a dog", "gold_label": "neutral"},
            dict(keys=dict(image="Flickr30K_ID", caption="sentence2", label="gold_label"), file_pattern="{}.png"),
        ),
    ],
    ids=["published", "snli-ve"],
)
def test_entailment_by_an_image(made, row, options):
    steps = [LOAD, CAPTION, dict(type="PickLabel", classes=["entailment", "neutral", "contradiction"]), PACK]
    actual = batch(made("ve.jsonl", lines(row), pipeline=steps, **options))
    assert actual.labels.tolist() == [1] and actual.texts == ["a dog"]


@pytest.mark.parametrize(
    ("name", "content", "columns", "steps", "text", "label"),
    [
        ("SST-2.tsv", "sentence\tlabel\nA dog .\t1\n", dict(text="sentence", label="label"), {}, "A dog .", 1),
        ("CoLA.tsv", "gj04\t1\t\tA dog.\n", dict(text=3, label=1), {}, "A dog.", 1),
        (
            "MNLI.tsv",
            "index\tsentence1\tsentence2\tgold_label\n0\tA dog\tred\tneutral\n",
            dict(text="sentence1", text_pair="sentence2", label="gold_label"),
            dict(classes=["entailment", "neutral", "contradiction"]),
            "A dog | red",
            1,
        ),
        (
            "STS-B.tsv",
            "sentence1\tsentence2\tscore\nA dog\tred\t3.800\n",
            dict(text="sentence1", text_pair="sentence2", label="score"),
            dict(number=True),
            "A dog | red",
            pytest.approx(3.8),
        ),
    ],
)
def test_glue(made, name, content, columns, steps, text, label):
    steps = [dict(type="PickText", clean=False), dict(type="PickLabel", **steps), PACK]
    options = dict(type="Table", columns=columns, header=name != "CoLA.tsv", pipeline=steps)
    actual = batch(made(name, content, **options))
    assert actual.texts == [text] and actual.labels.tolist() == [label] and actual.pixels is None


def test_winoground(made):
    row = {
        "id": 7,
        "image_0": "ex_7_img_0",
        "image_1": "ex_7_img_1",
        "caption_0": "a dog",
        "caption_1": "dog a",
        "tag": "Object",
    }
    keys = dict(
        images=dict(first="image_0", second="image_1"),
        caption=dict(first="caption_0", second="caption_1"),
        extras=("tag",),
    )
    steps = [LOAD, SMALL, dict(type="AllCaptions"), PACK]
    data = made(
        "examples.jsonl", lines(row, row), image_root="images", file_pattern="{}.png", keys=keys, pipeline=steps
    )
    actual = batch(data)
    assert actual.texts == ["a dog", "dog a"] * 2
    assert actual.text_owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and actual.owner.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]


def test_attributes_of_boxes(made):
    content = {
        "images": [{"id": 4, "file_name": "a.png", "width": 10, "height": 8}],
        "categories": [{"id": 1, "name": "dog"}],
        "attributes": [{"id": 0, "name": "color:red"}, {"id": 1, "name": "size:big"}],
        "annotations": [{"id": 1, "image_id": 4, "category_id": 1, "bbox": [0, 0, 5, 4], "att_vec": [1, -1]}],
    }
    steps = [LOAD, dict(type="PickPhrases"), PACK]
    actual = batch(made("ovad2000.json", content, option="instances_file", type="Coco", pipeline=steps))
    assert actual.texts == ["dog"] and actual.extras[0]["attributes"] == [[1, -1]]
    torch.testing.assert_close(actual.boxes_xyxy, torch.tensor([[0, 0, 0.5, 0.5]]))


def test_a_class_of_an_image_in_a_file(made):
    data = made("cls.json", [{"image": "a.png", "label": 3}], pipeline=[LOAD, dict(type="PickLabel"), PACK])
    actual = batch(data)
    assert actual.text_ids is None and actual.labels.tolist() == [3] and actual.pixels.shape == (1, 3, 8, 10)
