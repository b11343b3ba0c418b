"""Benchmarks as they are published: questions, choices, pairs of images, attributes, hard negatives."""

import csv
import json

from tests.data.datasets.layout_files import Layout, clips, image, write, write_jsonl


def coco_instances(root):
    images = []
    for number in (9, 25, 30):
        image(root / "val2017" / f"{number:012d}.jpg")
        images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": 64, "height": 48})
    images[2] |= {"width": 640, "height": 100}
    base = {"category_id": 1, "bbox": [1.5, 2, 30, 40], "iscrowd": 0, "area": 9.0, "segmentation": []}
    annotations = [{**base, "id": n, "image_id": n} for n in (9, 25, 30)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    write(root / "annotations" / "instances_val2017.json", content)
    config = dict(type="Coco", image_root="val2017", instances_file="annotations/instances_val2017.json")
    return Layout(config, 2, ["640x100 are stated, but the image has 64x48 pixels"], {"id": "9"}, decoded=True)


def refcocog_umd(root):
    import pickle

    name = "COCO_train2014_000000380440.jpg"
    image(root / "train2014" / name)

    def ref(number, split, ann=1):
        said = [{"tokens": ["man"], "raw": "the man", "sent_id": 10 * number, "sent": "the man"}]
        base = {"ref_id": number, "ann_id": ann, "category_id": 1, "image_id": 380440, "split": split}
        return {**base, "file_name": name, "sent_ids": [0], "sentences": said}

    refs = [ref(7, "val"), ref(8, "test"), ref(9, "val"), ref(10, "val", ann=99)]
    (root / "refcocog").mkdir()
    (root / "refcocog" / "refs(umd).p").write_bytes(pickle.dumps(refs, protocol=2))
    annotation = {"id": 1, "image_id": 380440, "category_id": 1, "bbox": [1.5, 2, 30, 40], "iscrowd": 0, "area": 1}
    images = [{"id": 380440, "file_name": name, "width": 64, "height": 48}]
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "person"}]}
    write(root / "refcocog" / "instances.json", content)
    config = dict(
        **dict(type="RefCoco", refs_file="refcocog/refs(umd).p", instances_file="refcocog/instances.json"),
        **dict(image_root="train2014", split="val"),
    )
    return Layout(config, 2, [r"refs\(umd\)\.p\[3\]: ann_id 99 is no annotation"], {"id": "380440"})


def ovad(root):
    images, annotations = [], []
    for number in (1, 2, 3):
        image(root / "val2017" / f"{number:012d}.jpg")
        images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": 64, "height": 48})
        base = {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 0}
        annotations.append({**base, "att_vec": [1, 0, -1]})
    images[2]["file_name"] = "../3.jpg"
    attributes = [{"id": n, "name": f"color:{name}", "type": "color"} for n, name in enumerate(("red", "blue", "grey"))]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "car"}]}
    write(root / "ovad2000.json", {**content, "attributes": attributes})
    config = dict(type="Coco", image_root="val2017", instances_file="ovad2000.json", require=["boxes"])
    elem = {"bb": (1, 2, 30, 40), "caption": "car", "kind": "object", "extras": {"attributes": [1, 0, -1]}}
    return Layout(config, 2, ["lies outside the folder"], {"elems": [elem]})


def winoground(root):
    for number in range(3):
        for side in (0, 1):
            image(root / "images" / f"ex_{number}_img_{side}.png")
    rows = [
        {
            **{"id": n, "image_0": f"ex_{n}_img_0", "image_1": f"ex_{n}_img_1", "num_main_preds": 1},
            **{"caption_0": "an old person", "caption_1": "a young person", "collapsed_tag": "Object", "tag": "Noun"},
        }
        for n in range(3)
    ]
    del rows[2]["image_1"]
    write_jsonl(root / "examples.jsonl", rows)
    config = dict(type="JsonLines", ann_file="examples.jsonl", image_root="images", file_pattern="{}.png")
    config["keys"] = dict(
        images=dict(first="image_0", second="image_1"),
        caption=dict(first="caption_0", second="caption_1"),
        extras=["collapsed_tag", "tag"],
    )
    first = {"caption": {"first": "an old person", "second": "a young person"}, "id": "0"}
    return Layout(config, 2, ["lacks an image: needs .'image_0', 'image_1'"], first)


def next_qa(root):
    head = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
    rows = [f"4010069381,369,640,480,how do the two men play,{n},{n},CH,roll,tap,strum,hit,pat" for n in (0, 4)]
    (root / "val.csv").write_text("\n".join([head, *rows, "4010069381,369,640"]) + "\n")
    clips(root / "NExTVideo", "1164/4010069381.mp4")
    write(root / "map_vid_vidorID.json", {"4010069381": "1164/4010069381"})
    choices = ["a0", "a1", "a2", "a3", "a4"]
    columns = dict(video="video", question="question", label="answer", choices=choices, extras=["qid", "type"])
    config = dict(type="Table", ann_file="val.csv", columns=columns, image_root="NExTVideo")
    config |= dict(file_map="map_vid_vidorID.json", file_pattern="{}.mp4")
    first = {"choices": ["roll", "tap", "strum", "hit", "pat"], "label": "0"}
    return Layout(config, 2, [r"val\.csv:4: the row is too short"], first)


def next_oe(root):
    rows = ["4010069381,why is it red,paint,6,CW", '4010069381,"who, if any",nobody,7,DO', "9,why,x,8,CW"]
    (root / "train.csv").write_text("\n".join(["video,question,answer,qid,type", *rows]) + "\n")
    clips(root / "NExTVideo", "1164/4010069381.mp4")
    write(root / "map_vid_vidorID.json", {"4010069381": "1164/4010069381"})
    columns = dict(video="video", question="question", answers="answer", extras=["qid", "type"])
    config = dict(type="Table", ann_file="train.csv", columns=columns, image_root="NExTVideo")
    config |= dict(file_map="map_vid_vidorID.json", file_pattern="{}.mp4")
    return Layout(config, 2, ["file_map has no file for '9'"], {"answers": ["paint"], "question": "why is it red"})


def msvd_qa(root):
    clips(root / "YouTubeClips", "mv89psg6zh4_33_46.avi")
    rows = [{"answer": "bird", "id": n, "question": "what is bathing?", "video_id": 1} for n in range(2)]
    write(root / "test_qa.json", [*rows, {**rows[0], "video_id": 7}])
    (root / "youtube_mapping.txt").write_text("mv89psg6zh4_33_46 vid1\n")
    config = dict(type="VideoQuestions", ann_file="test_qa.json", video_root="YouTubeClips", file_pattern="{}.avi")
    config["video_map"] = "youtube_mapping.txt"
    return Layout(config, 2, ["video_map has no video '7'"], {"question": "what is bathing?", "answers": ["bird"]})


def msrvtt_7k(root):
    clips(root / "videos", "video0.mp4", "video1.mp4")
    videos = [{"video_id": f"video{n}", "split": "train", "id": n, "url": "u", "category": 1} for n in range(3)]
    sentences = [{"caption": f"a man {n}", "video_id": f"video{n % 2}", "sen_id": n} for n in range(4)]
    write(root / "MSRVTT_data.json", {"info": {}, "videos": videos, "sentences": sentences})
    (root / "MSRVTT_train.7k.csv").write_text("video_id\nvideo0\nvideo1\nvideo2\n")
    config = dict(type="MsrVtt", ann_file="MSRVTT_data.json", video_root="videos", videos="MSRVTT_train.7k.csv")
    return Layout(config, 2, ["video2: has no sentence"], {"caption": ["a man 0", "a man 2"]})


def xgqa(root):
    image(root / "images" / "2354786.jpg")
    base = {"question": "Ist der Himmel dunkel?", "imageId": "2354786", "answer": "yes", "isBalanced": True}
    questions = {f"0293{n}": {**base, "fullAnswer": "Yes, the sky is dark."} for n in range(3)}
    del questions["02932"]["question"]
    write(root / "testdev_balanced_questions_de.json", questions)
    config = dict(type="GqaQuestions", questions_file="testdev_balanced_questions_de.json", image_root="images")
    return Layout(config, 2, ["has no 'question'"], {"question": "Ist der Himmel dunkel?", "answers": ["yes"]})


def xgqa_iglue(root):
    image(root / "images" / "n161313.jpg")
    base = {"img_id": "n161313", "sent": "Ist das rot?", "label": {"no": 1.0}}
    rows = [{**base, "question_id": f"20{n}"} for n in range(3)]
    del rows[2]["question_id"]
    write(root / "testdev_de.json", rows)
    keys = dict(image="img_id", question="sent", answers="label", extras=["question_id"])
    config = dict(type="JsonLines", ann_file="testdev_de.json", image_root="images", file_pattern="{}.jpg", keys=keys)
    return Layout(config, 2, ["has no 'question_id', which keys.extras lists"], {"answers": {"no": 1.0}})


def xvnli(root):
    image(root / "flickr30k-images" / "4705552913.jpg")
    base = {"Flikr30kID": "4705552913.jpg", "sentence1": "x", "sentence2": "Deux femmes.", "gold_label": "neutral"}
    rows = [{**base, "pairID": f"4705552913.jpg#2r1{letter}"} for letter in "nec"]
    write_jsonl(root / "fr_test.jsonl", [*rows[:2], {**rows[2], "gold_label": "-"}])
    config = dict(type="SnliVe", ann_file="fr_test.jsonl", image_root="flickr30k-images")
    return Layout(config, 2, ["gold_label: expected entailment"], {"caption": "Deux femmes.", "id": "4705552913"})


def sugarcrepe(root):
    image(root / "val2017" / "000000085329.jpg")
    base = {"filename": "000000085329.jpg", "caption": "A bed.", "negative_caption": "A boat."}
    write(root / "replace_obj.json", {"0": base, "1": base, "2": {"filename": base["filename"], "caption": "A bed."}})
    config = dict(type="HardNegatives", layout="sugarcrepe", ann_file="replace_obj.json", image_root="val2017")
    return Layout(config, 2, ["negative_caption"], {"caption": "A bed."})


def aro(root):
    image(root / "images" / "2321818.jpg")
    base = {"image_path": "2321818.jpg", "true_caption": "the dog is on the mat", "relation_name": "on"}
    base |= {"false_caption": "the mat is on the dog", "bbox_x": 1, "bbox_y": 2, "bbox_w": 30, "bbox_h": 40}
    write(root / "visual_genome_relation.json", [base, base, {**base, "false_caption": None}])
    config = dict(type="HardNegatives", layout="aro", ann_file="visual_genome_relation.json", image_root="images")
    return Layout(config, 2, ["expected texts, got None: is not as aro has it"], {"caption": "the dog is on the mat"})


def vl_checklist(root):
    image(root / "images" / "VG_100K" / "1.jpg")
    said = {"POS": ["a red car"], "NEG": ["a blue car"]}
    (root / "color.json").write_text(json.dumps([["VG_100K/1.jpg", said], ["VG_100K/1.jpg", said], ["VG_100K/1.jpg"]]))
    config = dict(type="HardNegatives", layout="vl_checklist", ann_file="color.json", image_root="images")
    return Layout(config, 2, [r"color\.json"], {"caption": "a red car"})


def image_table(root):
    for name in ("a.jpg", "b.jpg"):
        image(root / "photos" / name)
    with (root / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), ("a.jpg", "Two, or more"), ("b.jpg", "x"), ("../c.jpg", "y")])
    config = dict(type="ImageTable", image_root="photos", captions_file="captions.csv")
    return Layout(config, 2, ["lies outside the folder"], {"caption": ["Two, or more"], "id": "a.jpg"})


LAYOUTS = (
    *(coco_instances, refcocog_umd, ovad, winoground, next_qa, next_oe, msvd_qa, msrvtt_7k, xgqa, xgqa_iglue, xvnli),
    *(sugarcrepe, aro, vl_checklist, image_table),
)
