"""The benchmarks' own files, in exactly their layout, read by the data sets of the configs."""

import base64
import json
from pathlib import Path

import pytest

from x2vlm.building import build
from x2vlm.config import load_config
from x2vlm.data.data_root import with_data_root
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.record import RecordError
from x2vlm.registry import DATASETS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NEXT_QA = (
    "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
    "4010069381,369,640,480,how do the two man play the instrument,0,6,CH,roll the handle,tap their feet,"
    'strum the string,hit with sticks,"pat, with hand"\n'
)


@pytest.fixture
def read(tmp_path, png):
    """Writes a file where a config's data set looks for it, with pictures, and opens the data set."""

    def read(config, name, content, images=(), stream=False):
        cfg = load_config(CONFIGS / f"{config}.py")
        dataset = (cfg.streams if stream else cfg.evaluations)[name].dataset
        file = tmp_path / (dataset.ann_file if isinstance(dataset.ann_file, str) else dataset.ann_file[0])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        root = tmp_path / (dataset.get("image_root") or ".")
        root.mkdir(exist_ok=True)
        for image in images:
            (root / image).parent.mkdir(parents=True, exist_ok=True)
            (root / image).write_bytes(png(size=(10, 8)))
        return build(DATASETS, with_data_root(dataset, str(tmp_path), DATASETS))

    return read


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def test_xvnli_says_its_classes_in_words_and_leaves_out_where_nobody_agrees(read):
    row = {"Flikr30kID": "7", "sentence2": "Un perro.", "gold_label": "neutral", "pairID": "7#0n", "captionID": "7#0"}
    data = read("finetune/cclm_swin_xvnli", "es", lines(row, row | dict(gold_label="-")), ["7.jpg"])
    assert (data[0].texts, data[0].labels) == (["un perro"], [2])
    assert data[1].labels != [2]
    english = read("finetune/cclm_swin_xvnli", "dev", lines(row | dict(gold_label="contradiction")))
    assert english[0].labels == [0]


def test_xgqa_has_an_object_from_answer_to_weight(read):
    row = {"img_id": "n9", "sent": "Ist es rot?", "question_id": "201", "label": {"yes": 1.0}}
    data = read("finetune/cclm_swin_xgqa", "de", [row], ["n9.jpg"])
    assert data[0].answers == [[("yes", 1.0)]]
    assert data[0].extras["question_id"] == "201"
    assert data.record(0)["question"] == "Ist es rot?"


def test_xflickrco_has_a_list_of_sentences_for_one_image(read):
    row = {"sentences": ["Ein Hund rennt."], "img_path": "COCO_val2014_000000000009.jpg", "id": "9"}
    data = read("finetune/cclm_swin_xflickrco", "de", lines(row), [row["img_path"]])
    assert (data[0].texts, data[0].ids) == (["ein hund rennt"], ["9"])


def test_wit_has_its_images_inside_and_lines_without_a_description_are_left_out(read, png):
    content = base64.b64encode(png(size=(10, 8))).decode()
    row = {"image_url": "http://a/b.png", "image_content": content, "caption_reference_description": "Et tårn"}
    data = read("finetune/cclm_swin_wit", "da", lines(row, row | dict(caption_reference_description=None), row))
    assert len(data) == 2
    assert (data[1].texts, data[1].ids) == (["et tårn"], ["http://a/b.png"])


def test_marvl_has_a_left_and_a_right_image(read):
    row = {"concept": "39", "language": "id", "caption": "Dua anjing.", "left_img": "a.jpg", "right_img": "b.jpg"}
    row |= {"annotator_info": {}, "chapter": "Animal", "id": "id-0", "label": False}
    data = read("finetune/cclm_swin_marvl", "id", lines(row), ["a.jpg", "b.jpg"])
    assert (data[0].num_contexts, data[0].labels) == (2, [0])


def test_next_qa_is_multiple_choice(read, tmp_path):
    (tmp_path / "map_vid_vidorID.json").write_text(json.dumps({"4010069381": "1164/4010069381"}))
    record = read("finetune/x2vlm_base_next_qa", "val", NEXT_QA).record(0)
    assert record["choices"][4] == "pat, with hand"
    assert (record["label"], record["extras"]) == ("0", {"qid": "6", "type": "CH"})
    assert str(record["video"]).endswith("videos/1164/4010069381.mp4")


def test_next_qa_is_not_read_as_open_answers(read, tmp_path):
    (tmp_path / "map_vid_vidorID.json").write_text("{}")
    (tmp_path / "answers.json").write_text('["tap their feet"]')
    with pytest.raises(ValueError, match=r"five answers to choose from: its column 'answer' holds the number"):
        read("finetune/x2vlm_base_next_oe", "val", NEXT_QA)


def test_winoground_tells_what_was_swapped(read):
    row = {"id": 7, "image_0": "ex_7_img_0", "image_1": "ex_7_img_1", "caption_0": "a cat.", "caption_1": "a dog."}
    row |= {"tag": "Noun", "secondary_tag": "", "num_main_preds": 1, "collapsed_tag": "Object"}
    images = ["ex_7_img_0.png", "ex_7_img_1.png"]
    sample = read("zeroshot/x2vlm_base_winoground", "winoground", lines(row), images)[0]
    assert (sample.extras["collapsed_tag"], sample.extras["tag"]) == ("Object", "Noun")
    assert sample.num_contexts == 2


def test_published_clips_have_frames_inside_and_a_caption_each(tmp_path, png):
    frame = base64.b64encode(png(size=(10, 8))).decode()
    inside = {"video_frames": [frame] * 4, "caption": "a dog runs"}
    nested = {"video_frames": [[frame, frame], [frame]], "caption": ["a dog", "it runs"], "is_continuous": True}
    paths = {"video_frames": ["0/1.jpg", "0/2.jpg"], "text": "a cat"}
    (tmp_path / "clips.jsonl").write_text(lines(inside, nested, paths, nested | dict(is_continuous=None)))
    data = JsonLines(tmp_path / "clips.jsonl")
    assert [type(one) for one in data.record(0)["video"]] == [bytes] * 4
    assert [clip["caption"] for clip in data.record(1)["clips"]] == ["a dog", "it runs"]
    assert data.record(1)["is_continuous"] is True
    assert (data.record(2)["video"][1].name, data.record(2)["caption"]) == ("2.jpg", "a cat")
    with pytest.raises(RecordError, match="is_continuous is None"):
        data.record(3)


MARVL = "ta/images/4-காகம்/4-7.jpg"  # as VLUE names MaRVL's images


def test_vlue_asks_questions_with_one_answer_each(read):
    row = {"question_id": 5, "question": "Where is it?", "image": MARVL, "answer": "windowsill"}
    data = read("zeroshot/xvlm_swin_vlue_vqa", "val", [row], [MARVL])
    assert (data[0].texts, data[0].answers) == (["where is it"], [[("windowsill", 1.0)]])


def test_vlue_has_sentences_about_two_images(read):
    row = {"sentence": "A crow.", "images": [MARVL, MARVL.replace("4-7", "4-8")], "label": "True"}
    data = read("zeroshot/xvlm_swin_vlue_nlvr2", "test", [row], row["images"])
    assert (data[0].texts, data[0].labels, data[0].num_contexts) == (["a crow"], [1], 2)


def test_vlue_has_five_sentences_or_more_for_an_image_without_a_name(read):
    rows = [{"image": MARVL, "caption": [f"crow {number}" for number in range(count)]} for count in (5, 8)]
    rows[1]["image"] = MARVL.replace("4-7", "4-8")
    data = read("zeroshot/xvlm_swin_vlue_retrieval", "retrieval", rows, [row["image"] for row in rows])
    assert [len(sample.texts) for sample in data] == [5, 8]
    assert not {*data[0].ids} & {*data[1].ids}


def test_vlue_has_captions_for_numbered_images(read):
    rows = [{"image": MARVL, "caption": ["A crow.", "Crows?"], "image_id": 3}]
    data = read("zeroshot/xvlm_swin_vlue_captioning_coco", "test", rows, [MARVL])
    assert (data[0].texts, data[0].extras["image_id"]) == (["A crow.", "Crows?"], 3)


def test_vlue_has_the_box_of_a_phrase_in_the_file(read):
    row = {"image": MARVL, "text": "a crow", "bbox": [1, 2, 4, 4], "ref_id": 7, "height": 8, "width": 10}
    data = read("zeroshot/xvlm_swin_vlue_refcoco_plus", "test_a", [row], [MARVL])
    assert (data[0].texts, data[0].has_box.tolist()) == (["a crow"], [True])
