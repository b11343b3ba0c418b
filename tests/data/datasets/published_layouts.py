"""Public data sets as they are published, in little: three records or more, one of which is broken.

Each function writes the files of one into a folder and says how an adapter is configured for them, how many records are
whole, what is wrong with the others, and what the first record holds. ``LAYOUTS`` has all of them by name.
"""

import csv
import pickle

from tests.data.datasets import published_archives, published_benchmarks, published_captions, published_text
from tests.data.datasets.layout_files import Layout, clips, image, write, write_jsonl

__all__ = ["LAYOUTS", "PACKAGES", "Layout", "image"]


def karpathy_coco(root):
    def one(number, split, *captions, **more):
        name = f"COCO_val2014_{number:012d}.jpg"
        sentences = [
            {"tokens": text.lower().split(), "raw": text, "imgid": number, "sentid": 10 * number + n}
            for n, text in enumerate(captions)
        ]
        base = {"filepath": "val2014", "filename": name, "imgid": number, "split": split, "cocoid": number}
        image(root / "images" / "val2014" / name)
        return {**base, "sentids": [s["sentid"] for s in sentences], "sentences": sentences, **more}

    images = [one(391895, "test", "A man rides.", "A bike."), one(1, "train", "No."), one(2, "test", "Ein Hund läuft.")]
    images += [one(3, "test", "x", sentences=[{"raw": 7}])]
    write(root / "dataset_coco.json", {"images": images, "dataset": "coco"})
    config = dict(type="KarpathySplit", ann_file="dataset_coco.json", image_root="images", split="test")
    first = {"id": "391895", "caption": ["A man rides.", "A bike."]}
    return Layout(config, 2, [r"dataset_coco\.json\[3\]: raw: expected a text, got 7"], first)


def karpathy_flickr(root):
    images = []
    for number, split in enumerate(("train", "train", "val", "train")):
        name = f"{number}.jpg"
        image(root / "images" / name)
        sentences = [{"tokens": [], "raw": f"Photo {number} {n}.", "imgid": number, "sentid": n} for n in range(5)]
        images.append({"sentids": [], "imgid": number, "sentences": sentences, "split": split, "filename": name})
    del images[3]["filename"]
    write(root / "dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})
    config = dict(type="KarpathySplit", ann_file="dataset_flickr30k.json", image_root="images", captions_apart=True)
    return Layout(config, 10, [r"has no 'filename'"] * 5, {"id": "0", "caption": "Photo 0 0."})


VG_BOX = {"x": 4, "y": 2, "w": 20, "h": 30}


def vg_images(root):
    data = []
    for number in (1, 2, 3):
        image(root / "images" / "VG_100K_2" / f"{number}.jpg")
        url = f"https://cs.stanford.edu/people/rak248/VG_100K_2/{number}.jpg"
        data.append({"width": 64, "url": url, "height": 48, "image_id": number, "coco_id": None, "flickr_id": None})
    return write(root / "image_data.json", data)


def visual_genome(root):
    vg_images(root)
    size = {"x": 1, "y": 1, "width": 40, "height": 20}
    regions = [
        {"regions": [{"region_id": n, "image_id": n, "phrase": f"a street {n}", **size}], "id": n} for n in (1, 2)
    ]
    regions += [{"regions": [{"region_id": 9, "image_id": 3, "phrase": None, **size}], "id": 3}]
    objects = [{"object_id": 7, "names": ["clock"], "synsets": [], "attributes": ["green", "tall"], **VG_BOX}]
    horse = {"object_id": 8, "name": "horse", "x": 10, "y": 20, "w": 40, "h": 20, "synsets": []}
    relation = {"predicate": "ON", "subject": objects[0], "object": horse, "relationship_id": 1, "synsets": []}
    write(root / "region_descriptions.json", regions)
    write(root / "attributes.json", [{"image_id": 1, "attributes": objects}])
    write(root / "relationships.json", [{"image_id": 1, "relationships": [relation]}])
    config = dict(
        **dict(type="VisualGenome", image_data="image_data.json", image_root="images"),
        **dict(regions="region_descriptions.json", attributes="attributes.json", relationships="relationships.json"),
    )
    elems = [
        {"bb": (1, 1, 40, 20), "caption": "a street 1", "kind": "region"},
        {"bb": (4, 2, 20, 30), "caption": "clock", "kind": "object", "attributes": ["green", "tall"]},
        {"bb": (4, 2, 46, 38), "caption": "clock on horse", "kind": "region"},
    ]
    return Layout(config, 2, [r"region_descriptions\.json\[2\]: phrase: expected a text, got None"], {"elems": elems})


def visual_genome_objects(root):
    vg_images(root)
    objects = [{"image_id": n, "objects": [{"object_id": n, "names": ["tree"], **VG_BOX}]} for n in (1, 2)]
    objects += [{"image_id": 3, "objects": [{"object_id": 3, "names": ["tree"], **VG_BOX, "h": "tall"}]}]
    write(root / "objects.json", objects)
    config = dict(
        type="VisualGenome",
        image_data="image_data.json",
        image_root="images/VG_100K_2",
        objects="objects.json",
        flat=True,
    )
    return Layout(config, 2, ["h: expected a number, got 'tall'"], {"id": "1", "stated_size": (64, 48)})


def visual_genome_questions(root):
    vg_images(root)

    def asked(image, number, **more):
        base = {"image_id": image, "qa_id": number, "question": "What colour is it?", "answer": "Green."}
        return {"a_objects": [], "q_objects": [], **base, **more}

    qas = [{"id": 1, "qas": [asked(1, 11), asked(1, 12)]}, {"id": 2, "qas": [asked(2, 13, answer=4)]}]
    write(root / "question_answers.json", qas)
    config = dict(
        **dict(type="VisualGenomeQuestions", image_data="image_data.json"),
        **dict(questions="question_answers.json", image_root="images"),
    )
    first = {"question": "What colour is it?", "answers": ["Green"], "extras": {"question_id": "11"}}
    return Layout(config, 2, ["answer: expected a text, got 4"], first)


def refcoco(root):
    name = "COCO_train2014_000000581857.jpg"
    image(root / "train2014" / name)

    def ref(number, split, *sentences, ann=1):
        said = [
            {"tokens": text.split(), "raw": text, "sent_id": 10 * number + n, "sent": text}
            for n, text in enumerate(sentences)
        ]
        base = {"ref_id": number, "ann_id": ann, "category_id": 1, "image_id": 581857, "split": split}
        return {**base, "file_name": f"COCO_train2014_000000581857_{ann}.jpg", "sent_ids": [0], "sentences": said}

    refs = [ref(7, "testA", "left dog", "the brown one"), ref(8, "train", "cat"), ref(9, "testA", "none", ann=99)]
    (root / "refcoco").mkdir()
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    annotation = {"id": 1, "image_id": 581857, "category_id": 1, "bbox": [1.5, 2, 30, 40], "iscrowd": 0, "area": 1}
    images = [{"id": 581857, "file_name": name, "width": 64, "height": 48}]
    categories = [{"id": 1, "name": "dog"}]
    content = {"images": images, "annotations": [annotation], "categories": categories}
    write(root / "refcoco" / "instances.json", content)
    config = dict(
        **dict(type="RefCoco", refs_file="refcoco/refs(unc).p", instances_file="refcoco/instances.json"),
        **dict(image_root="train2014", split="testA"),
    )
    elems = [{"bb": [1.5, 2, 30, 40], "caption": "left dog", "kind": "region"}]
    first = {"elems": elems, "extras": {"ref_id": "7", "sent_id": "70"}, "stated_size": (64, 48), "id": "581857"}
    return Layout(config, 2, [r"refs\(unc\)\.p\[2\]: ann_id 99 is no annotation"], first)


def flickr30k_entities(root):
    xml = (
        "<annotation><filename>{n}.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size>"
        "<object><name>1</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>22</xmax><ymax>33</ymax></bndbox></object>"
        "<object><name>2</name><scene>1</scene><nobndbox>0</nobndbox></object></annotation>"
    )
    for number in ("100", "200", "300"):
        image(root / "images" / f"{number}.jpg")
        for folder in ("Sentences", "Annotations"):
            (root / folder).mkdir(exist_ok=True)
        text = "[/EN#1/people Two young guys] in [/EN#2/scene a yard] .\n[/EN#0/notvisual It] is fun .\n"
        (root / "Sentences" / f"{number}.txt").write_text(text)
        (root / "Annotations" / f"{number}.xml").write_text(xml.format(n=number) if number != "300" else "<annotation>")
    (root / "test.txt").write_text("100\n200\n300\n")
    config = dict(type="Flickr30kEntities", root=".", image_root="images", split_file="test.txt")
    elem = {"bb": (2, 3, 20, 30), "caption": "Two young guys", "kind": "region", "entity": "1", "types": ["people"]}
    first = {"caption": ["Two young guys in a yard .", "It is fun ."], "elems": [elem], "stated_size": (64, 48)}
    return Layout(config, 2, [r"Annotations/300\.xml: is no annotation of boxes"], first)


def vqa(root):
    questions = [{"image_id": 262148, "question": f"Is it {n}?", "question_id": 262148000 + n} for n in range(3)]
    image(root / "images" / "COCO_train2014_000000262148.jpg")
    answers = [{"answer": "net", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
    annotations = [
        {
            **{"question_type": "what", "multiple_choice_answer": "net", "answers": answers, "image_id": 262148},
            **{"answer_type": "other", "question_id": 262148000 + n},
        }
        for n in range(2)
    ]
    head = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": "train2014"}
    name = "v2_OpenEnded_mscoco_train2014_questions.json"
    write(root / name, {**head, "task_type": "Open-Ended", "questions": questions})
    write(root / "v2_mscoco_train2014_annotations.json", {**head, "annotations": annotations})
    config = dict(
        **dict(type="VqaQuestions", questions_file=name, image_root="images"),
        **dict(annotations_file="v2_mscoco_train2014_annotations.json"),
    )
    extras = {"question_id": 262148000, "question_type": "what", "answer_type": "other"}
    first = {"question": "Is it 0?", "answers": ["net"] * 10, "extras": extras, "id": "262148"}
    return Layout(config, 2, ["question 262148002 has no annotation in v2_mscoco_train2014_annotations.json"], first)


def okvqa(root):
    questions = [{"image_id": 51606, "question": "What hair style?", "question_id": 516065 + n} for n in range(3)]
    questions[2].pop("question")
    image(root / "images" / "COCO_train2014_000000051606.jpg")
    answers = [{"answer_id": 1, "raw_answer": "pony tails", "answer_confidence": "yes", "answer": "pony tail"}]
    annotations = [{"image_id": 51606, "question_id": 516065 + n, "answers": answers} for n in range(3)]
    name = "OpenEnded_mscoco_train2014_questions.json"
    info = {"version": "1.0", "description": "This is v1.0 of the OK-VQA dataset."}
    write(root / name, {"info": info, "data_subtype": "train2014", "questions": questions})
    write(root / "mscoco_train2014_annotations.json", {"annotations": annotations})
    config = dict(
        **dict(type="VqaQuestions", questions_file=name, image_root="images"),
        **dict(annotations_file="mscoco_train2014_annotations.json"),
    )
    return Layout(config, 2, ["has no 'question' "], {"answers": ["pony tail"]})


def aokvqa(root):
    image(root / "images" / "000000299207.jpg")
    base = {"split": "train", "image_id": 299207, "question": "What is the man by the bags awaiting?"}
    base |= {"choices": ["skateboarder", "train", "delivery", "cab"], "correct_choice_idx": 3}
    base |= {"direct_answers": ["ride"] * 10, "difficult_direct_answer": False, "rationales": ["a b c"]}
    rows = [{**base, "question_id": f"22MexNkBPpdZGX6sxbxVBH{n}"} for n in range(3)]
    rows[2]["choices"] = [1, 2]
    write(root / "aokvqa_v1p0_train.json", rows)
    config = dict(type="AOkVqa", ann_file="aokvqa_v1p0_train.json", image_root="images")
    extras = {"question_id": "22MexNkBPpdZGX6sxbxVBH0", "choices": base["choices"], "correct_choice": 3}
    return Layout(config, 2, ["choices: expected texts, got 1"], {"answers": ["ride"] * 10, "extras": extras})


def gqa(root):
    image(root / "images" / "2354786.jpg")
    base = {"semantic": [], "entailed": [], "equivalent": [], "question": "Is the sky dark?", "imageId": "2354786"}
    base |= {"isBalanced": True, "groups": {}, "answer": "yes", "semanticStr": "", "annotations": {}, "types": {}}
    questions = {f"0293{n}": {**base, "fullAnswer": "Yes, the sky is dark."} for n in range(3)}
    questions["02932"]["imageId"] = None
    write(root / "val_balanced_questions.json", questions)
    config = dict(type="GqaQuestions", questions_file="val_balanced_questions.json", image_root="images")
    first = {"question": "Is the sky dark?", "answers": ["yes"], "extras": {"question_id": "02930"}}
    return Layout(config, 2, [r"val_balanced_questions\.json\['02932'\]: imageId: expected"], first)


def gqa_scenes(root):
    one = {"name": "window", "x": 4, "y": 2, "w": 20, "h": 30, "attributes": ["white"], "relations": []}
    two = {"name": "wall", "x": 0, "y": 0, "w": 60, "h": 40, "attributes": [], "relations": []}
    one["relations"] = [{"object": "2", "name": "on"}]
    graphs = {}
    for name in ("2407890", "2407891", "2407892"):
        image(root / "images" / f"{name}.jpg")
        graphs[name] = {"width": 64, "height": 48, "location": "living room", "objects": {"1": one, "2": two}}
    graphs["2407892"] = {"width": 64, "height": 48, "objects": [one]}
    write(root / "train_sceneGraphs.json", graphs)
    config = dict(type="GqaSceneGraphs", graphs_file="train_sceneGraphs.json", image_root="images", relations=True)
    elems = [
        {"bb": (4, 2, 20, 30), "caption": "window", "kind": "object", "attributes": ["white"]},
        {"bb": (0, 0, 60, 40), "caption": "wall", "kind": "object"},
        {"bb": (0, 0, 60, 40), "caption": "window on wall", "kind": "region"},
    ]
    return Layout(config, 2, ["objects: expected an object"], {"elems": elems, "id": "2407890"})


def nlvr2(root):
    for side in (0, 1):
        image(root / "images" / "train" / "7" / f"train-10171-0-img{side}.png")
    image(root / "images" / "train-10171-1-img0.png")
    image(root / "images" / "train-10171-1-img1.png")
    base = {"sentence": "An image shows one leather pencil case.", "label": "True", "synset": "case", "query": "q"}
    rows = [
        {**base, "identifier": "train-10171-0-0", "directory": 7},
        {**base, "identifier": "train-10171-1-3", "label": "False"},
        {**base, "identifier": "train"},
    ]
    write_jsonl(root / "train.json", rows)
    config = dict(type="Nlvr2", ann_file="train.json", image_root="images/train")
    config["image_root"] = "images"
    rows[0]["directory"] = "train/7"
    write_jsonl(root / "train.json", rows)
    first = {"id": "train-10171-0", "label": "True", "caption": base["sentence"]}
    return Layout(config, 2, ["identifier: expected split-set-pair-sentence, got 'train'"], first)


def marvl(root):
    for name in ("39-1.jpg", "39-2.jpg"):
        image(root / "images" / "39-Ayam" / name)
    base = {"concept": "39-Ayam", "language": "id", "caption": "Di kedua foto ada ayam.", "left_img": "39-1.jpg"}
    base |= {"right_img": "39-2.jpg", "annotator_info": {}, "chapter": "Animal", "id": "id-0", "label": True}
    write_jsonl(root / "marvl-id.jsonl", [base, {**base, "label": False}, {**base, "label": "perhaps"}])
    config = dict(type="Marvl", ann_file="marvl-id.jsonl", image_root="images")
    first = {"label": "True", "caption": base["caption"], "id": "39-Ayam/39-1.jpg 39-2.jpg"}
    return Layout(config, 2, ["label: expected true or false, got 'perhaps'"], first)


def snli_ve(root):
    image(root / "images" / "4705552913.jpg")
    base = {"annotator_labels": ["neutral"], "captionID": "4705552913.jpg#2", "gold_label": "neutral"}
    base |= {"pairID": "4705552913.jpg#2r1n", "sentence1": "Two women.", "sentence2": "The sisters are hugging."}
    base |= {"Flickr30K_ID": "4705552913"}
    write_jsonl(root / "snli_ve_dev.jsonl", [base, {**base, "gold_label": "entailment"}, {**base, "gold_label": "-"}])
    config = dict(type="SnliVe", ann_file="snli_ve_dev.jsonl", image_root="images")
    first = {"caption": "The sisters are hugging.", "label": "neutral", "extras": {"pair_id": "4705552913.jpg#2r1n"}}
    return Layout(config, 2, ["gold_label: expected entailment, neutral, contradiction, got '-'"], first)


def cc3m(root):
    rows = ["a very typical bus station\thttp://a.org/1.jpg", "sierra looked stunning\thttp://a.org/b/2.jpg"]
    (root / "Train_GCC-training.tsv").write_text("\n".join([*rows, "no address", "gone\thttp://a.org/4.jpg"]) + "\n")
    for number in (0, 1):
        image(root / "downloads" / f"{number:09d}.jpg")
    config = dict(type="WebCaptions", ann_file="Train_GCC-training.tsv", downloads="downloads")
    first = {"caption": "a very typical bus station", "id": "http://a.org/1.jpg"}
    return Layout(config, 2, [r"Train_GCC-training\.tsv:3: expected caption, a tab and url"], first)


def cc12m_in_a_tar(root):
    import tarfile

    rows = [f"http://a.org/{n}.jpg\tcaption {n}" for n in range(3)]
    (root / "cc12m.tsv").write_text("\n".join([*rows, "\tnothing"]) + "\n")
    with tarfile.open(root / "images.tar", "w") as tar:
        for number in (0, 2):
            tar.add(image(root / "x" / f"{number}.jpg"), arcname=f"{number}.jpg")
    config = dict(type="WebCaptions", ann_file="cc12m.tsv", downloads="images.tar", order="url caption", names="url")
    config["file_pattern"] = "{}"
    return Layout(config, 2, [r"cc12m\.tsv:4: expected url, a tab and caption"], {"caption": "caption 0"})


def sbu(root):
    urls = [f"http://static.flickr.com/2723/44{n}.jpg" for n in range(4)]
    content = {"image_urls": urls, "captions": ["A dog. ", "A cat.", 7, "gone"], "user_ids": ["a", "b", "c", "d"]}
    write(root / "sbu-captions-all.json", content)
    for number in range(3):
        image(root / "sbu" / f"44{number}.jpg")
    config = dict(type="WebCaptions", ann_file="sbu-captions-all.json", downloads="sbu", names="url", file_pattern="{}")
    first = {"caption": "A dog.", "id": urls[0]}
    return Layout(config, 2, [r"sbu-captions-all\.json\[2\]: expected a caption and an address, got 7"], first)


def msrvtt(root):
    clips(root / "videos", "video0.mp4", "video1.mp4", "video2.mp4")
    videos = [
        {
            "category": 9,
            "url": "u",
            "video_id": f"video{n}",
            "start time": 1.0,
            "end time": 9.0,
            "split": "train",
            "id": n,
        }
        for n in range(3)
    ]
    videos.append({**videos[0], "video_id": "video3", "split": "test"})
    sentences = [{"caption": f"a man drives {n}", "video_id": f"video{n // 2}", "sen_id": n} for n in range(4)]
    write(root / "MSRVTT_data.json", {"info": {}, "videos": videos, "sentences": sentences})
    config = dict(type="MsrVtt", ann_file="MSRVTT_data.json", video_root="videos", split="train")
    return Layout(config, 2, ["video2: has no sentence"], {"caption": ["a man drives 0", "a man drives 1"]})


def msrvtt_1k(root):
    msrvtt(root)
    with (root / "MSRVTT_JSFUSION_test.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "vid_key", "video_id", "sentence"])
        rows.writerows([["ret0", "msr0", "video0", "a car, parked"], ["ret1", "msr1", "video1", "x"]])
        rows.writerow(["ret2", "msr2", "../video2", "outside"])
    config = dict(type="MsrVtt", ann_file="MSRVTT_data.json", video_root="videos", videos="MSRVTT_JSFUSION_test.csv")
    return Layout(config, 2, ["lies outside the folder"], {"caption": ["a car, parked"], "id": "video0"})


def msrvtt_qa(root):
    clips(root / "videos", "video6513.mp4")
    rows = [{"answer": "couch", "category_id": 14, "id": n, "question": "what?", "video_id": 6513} for n in range(3)]
    rows[2]["answer"] = None
    write(root / "val_qa.json", rows)
    config = dict(type="VideoQuestions", ann_file="val_qa.json", video_root="videos")
    first = {"question": "what?", "answers": ["couch"], "extras": {"question_id": 0}}
    return Layout(config, 2, ["answer: expected a text, got None"], first)


def msvd(root):
    clips(root / "clips", "mv89psg6zh4_33_46.avi", "-4wsuPCjDBc_5_15.avi")
    lines = ["# MSVD", "", "mv89psg6zh4_33_46 a bird is bathing", "mv89psg6zh4_33_46 a bird bathes"]
    (root / "AllVideoDescriptions.txt").write_text("\n".join([*lines, "-4wsuPCjDBc_5_15 a squirrel eats"]) + "\n")
    (root / "test_list.txt").write_text("mv89psg6zh4_33_46\n-4wsuPCjDBc_5_15\nmissing_1_2\n")
    config = dict(type="Msvd", captions_file="AllVideoDescriptions.txt", video_root="clips", videos="test_list.txt")
    first = {"caption": ["a bird is bathing", "a bird bathes"], "id": "mv89psg6zh4_33_46"}
    return Layout(config, 2, ["missing_1_2: no line describes this clip"], first)


def msvd_csv(root):
    clips(root / "clips", "a_1_2.avi")
    head = ["VideoID", "Start", "End", "WorkerID", "Source", "AnnotationTime", "Language", "Description"]
    with (root / "video_corpus.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(head)
        rows.writerow(["a", 1, 2, 1, "clean", 10, "English", "a dog"])
        rows.writerow(["a", 1, 2, 1, "clean", 10, "German", "ein Hund"])
        rows.writerow(["a", 1, 2, 1, "clean", 10, "English", "two dogs"])
        rows.writerow(["../b", 1, 2, 1, "clean", 10, "English", "outside"])
    config = dict(type="Msvd", captions_file="video_corpus.csv", video_root="clips", captions_apart=True)
    return Layout(config, 2, ["lies outside the folder"], {"caption": "a dog", "id": "a_1_2"})


def webvid(root):
    clips(root / "videos", "p/1.mp4", "p/2.mp4")
    lines = [
        "videoid,contentUrl,duration,page_dir,name",
        '1,u,PT00H00M10S,p,"Lake, at dawn."',
        "2,u,PT10S,p,City",
        "3,u",
    ]
    (root / "results_2M_val.csv").write_text("\n".join(lines) + "\n")
    config = dict(type="WebVid", ann_file="results_2M_val.csv", video_root="videos")
    first = {"caption": "Lake, at dawn.", "id": "1"}
    return Layout(config, 2, [r"results_2M_val\.csv:4: expected the columns videoid"], first)


def howto100m(root):
    clips(root / "videos", "a.mp4", "b.mp4")
    said = {"start": [0.0, 1.0], "end": [1.0, 2.0], "text": ["pour the milk", "and stir"]}
    write(root / "caption.json", {"a": said, "b": said, "c": {**said, "text": ["one"]}})
    config = dict(type="HowTo100M", captions_file="caption.json", video_root="videos")
    return Layout(config, 2, [r"caption\.json\['c'\]: start, end and text have 2, 2, 1 entries"], {"id": "a"})


def yt_temporal(root):
    clips(root / "videos", "a.mp4", "b.mp4")
    words = [{"word": word, "time": time} for time, word in enumerate(("pour", "the", "milk"))]
    rows = [
        {"video_id": "a", "subtitles": words},
        {"info": {"id": "b"}, "subtitles": words},
        {"video_id": "c", "subtitles": []},
    ]
    write_jsonl(root / "yttemporal180m_000of100.jsonl", rows)
    config = dict(type="YtTemporal", ann_file="yttemporal180m_000of100.jsonl", video_root="videos", seconds=1.5)
    return Layout(config, 2, ["has no subtitles: nothing is said"], {"id": "a"})


def open_images(root):
    for name in ("a1", "b2", "c3"):
        image(root / "images" / f"{name}.jpg")
    head = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    rows = ["a1,xclick,/m/01g317,1,0.25,0.75,0.5,1.0,0,0,0,0,0", "a1,xclick,/m/01g317,1,0,1,0,1,0,0,1,0,0"]
    rows += ["b2,xclick,/m/0cmf2,1,0,0.5,0,0.5,0,0,0,0,0", "c3,xclick,/m/0cmf2,1,left,1,0,1,0,0,0,0,0"]
    (root / "train-annotations-bbox.csv").write_text("\n".join([head, *rows]) + "\n")
    (root / "class-descriptions-boxable.csv").write_text("/m/01g317,Person\n/m/0cmf2,Airplane\n")
    config = dict(
        **dict(type="OpenImages", boxes_file="train-annotations-bbox.csv", image_root="images"),
        **dict(classes_file="class-descriptions-boxable.csv"),
    )
    elems = [{"bb": (0.25, 0.5, 0.5, 0.5), "caption": "person", "kind": "object"}]
    return Layout(config, 2, ["expected four numbers from 0 to 1, got .'left'"], {"elems": elems, "id": "a1"})


def lvis(root):
    categories = [
        {"id": 3, "name": "air_conditioner", "synset": "s", "synonyms": ["air_conditioner"], "frequency": "f"}
    ]
    images = []
    for number in (1, 2, 3):
        image(root / "images" / "val2017" / f"{number:012d}.jpg")
        url = f"http://images.cocodataset.org/val2017/{number:012d}.jpg"
        images.append({"id": number, "coco_url": url, "width": 64, "height": 48, "neg_category_ids": []})
    images[2] |= {"width": 640, "height": 100}
    shape = [[1, 2, 31, 2, 31, 42]]
    annotations = [
        {"id": n, "image_id": n, "category_id": 3, "bbox": [1, 2, 30, 40], "segmentation": shape, "area": 9}
        for n in (1, 2, 3)
    ]
    write(root / "lvis_v1_val.json", {"images": images, "annotations": annotations, "categories": categories})
    config = dict(type="Coco", image_root="images", instances_file="lvis_v1_val.json")
    elems = [{"bb": (1, 2, 30, 40), "caption": "air conditioner", "kind": "object"}]
    return Layout(config, 2, [r"640x100 are stated, but the image has 64x48 pixels"], {"elems": elems}, decoded=True)


def objects365(root):
    images = []
    for number in (1, 2, 3):
        name = f"images/v1/patch8/objects365_v1_{number:08d}.jpg"
        image(root / name)
        images.append({"id": number, "file_name": name, "width": 64, "height": 48, "url": ""})
    images[2]["file_name"] = "../outside.jpg"
    annotations = [
        {
            "id": n,
            "iscrowd": 0,
            "isfake": 0,
            "area": 9.0,
            "isreflected": 0,
            "bbox": [1.5, 2, 30, 40],
            "image_id": n,
            "category_id": 5,
        }
        for n in (1, 2, 3)
    ]
    write(
        root / "zhiyuan.json",
        {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "Person"}]},
    )
    config = dict(type="Coco", image_root=".", instances_file="zhiyuan.json")
    return Layout(config, 2, ["lies outside the folder"], {"id": "1"})


def stair(root):
    images = []
    for number in (1, 2, 3):
        image(root / "images" / f"COCO_val2014_{number:012d}.jpg")
        images.append(
            {"id": number, "file_name": f"COCO_val2014_{number:012d}.jpg", "license": 5, "height": 48, "width": 64}
        )
    images[2]["file_name"] = "/etc/passwd"
    captions = [{"image_id": n, "id": n, "caption": "犬が走る", "tokenized_caption": "犬 が 走る"} for n in (1, 2, 3)]
    write(root / "stair_captions_v1.2_val.json", {"images": images, "annotations": captions})
    config = dict(type="Coco", image_root="images", captions_file="stair_captions_v1.2_val.json")
    return Layout(config, 2, ["lies outside the folder"], {"caption": ["犬が走る"]})


def localized_narratives(root):
    image(root / "images" / "000000000139.jpg")
    base = {
        "dataset_id": "mscoco_val2017",
        "image_id": "139",
        "annotator_id": 93,
        "caption": "In this image there are doors.",
    }
    base |= {"timed_caption": [], "traces": [], "voice_recording": "v.ogg"}
    write_jsonl(root / "coco_val_localized_narratives.jsonl", [base, base, {**base, "image_id": "x"}])
    config = dict(type="JsonLines", ann_file="coco_val_localized_narratives.jsonl", image_root="images")
    config |= dict(keys=dict(image="image_id"), file_pattern="{:012d}.jpg")
    return Layout(config, 2, ["needs a number, got 'x'"], {"caption": base["caption"], "id": "139"})


def xflickrco(root):
    image(root / "images" / "1.jpg")
    base = {"id": "1007129816", "img_path": "1.jpg", "sentences": ["ein Mann mit Hut"]}
    write_jsonl(root / "de.jsonl", [base, {**base, "sentences": ["a", "b"]}, {**base, "sentences": [3]}])
    config = dict(
        type="JsonLines", ann_file="de.jsonl", image_root="images", keys=dict(image="img_path", caption="sentences")
    )
    return Layout(config, 2, ["caption: expected a string or a list of strings"], {"caption": ["ein Mann mit Hut"]})


def parallel_table(root):
    lines = ["1.2\tA dog.\tEin Hund.", "1.01\tbad\tschlecht", "1.1\tA cat.\tEine Katze.", "1.3\tonly one"]
    (root / "de-en.tsv").write_text("\n".join(lines) + "\n")
    config = dict(type="ParallelTable", files="de-en.tsv", columns=dict(en=1, de=2), score_column=0, min_score=1.05)
    first = {"parallel": {"en": "A dog.", "de": "Ein Hund."}}
    return Layout(config, 2, [r"de-en\.tsv:4: has 2 columns"], first)


LAYOUTS = {
    function.__name__: function
    for function in (
        *(karpathy_coco, karpathy_flickr, visual_genome, visual_genome_objects, visual_genome_questions, refcoco),
        *(flickr30k_entities, vqa, okvqa, aokvqa, gqa, gqa_scenes, nlvr2, marvl, snli_ve, cc3m, cc12m_in_a_tar, sbu),
        *(msrvtt, msrvtt_1k, msrvtt_qa, msvd, msvd_csv, webvid, howto100m, yt_temporal, open_images, lvis, objects365),
        *(stair, localized_narratives, xflickrco, parallel_table),
        *published_archives.LAYOUTS,
        *published_benchmarks.LAYOUTS,
        *published_captions.LAYOUTS,
        *published_text.LAYOUTS,
    )
}

PACKAGES = {
    **dict.fromkeys(("msrvtt", "msrvtt_1k", "msrvtt_7k", "msrvtt_qa", "msvd", "msvd_csv", "msvd_qa"), "av"),
    **dict.fromkeys(("webvid", "howto100m", "yt_temporal", "next_qa", "next_oe"), "av"),
    **dict.fromkeys(("laion", "hf_saved", "hf_parquet", "wikipedia_parquet"), "pyarrow"),
}
"""What is needed to write some of them."""
