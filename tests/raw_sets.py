"""The raw sets of configs/base/raw_4m.py in little, as they are downloaded, with images of test sets among them.

An image is drawn from its number, so that equal numbers are one photograph. COCO's are 1 to 8: 3 is of the validation
split, 4 of the test split, 5 of RefCOCO's testA; Flickr's number of a photograph of COCO is 1,000,000 more. Visual
Genome has 3 and 4 again, under a number of COCO, a number of Flickr, and, mirrored and smaller, under none.
"""

import io
import json
import pickle

import numpy as np
from PIL import Image

SIZE = (96, 72)

KEPT = {
    **{"coco": ["1", "2", "6"], "vg": ["101"], "sbu": ["http://blog.example.org/new.jpg"]},
    **{"cc3m": ["http://shop.example.org/1.jpg"], "coco_objects": ["1", "2", "6"], "vg_objects": ["101"]},
    **{"vg_regions": ["101"], "refcoco": ["6"] * 3, "gqa": ["101"], "flickr_entities": ["2000001"]},
}
"""Identities of the records that are left of each set."""


def scene(number, size=SIZE):
    """The photograph of a number."""
    coarse = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def copy_of(number):
    """A copy of the photograph: mirrored, smaller, compressed."""
    return scene(number).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((72, 54), Image.Resampling.BICUBIC)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"quality": 80} if path.suffix == ".jpg" else {}))


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def write_raw_sets(root):
    """Write all sets below a folder."""
    for write_one in (coco, refer, visual_genome, web, gqa, flickr30k, others):
        write_one(root)


def coco(root):
    split_of = {1: "train", 2: "restval", 3: "val", 4: "test", 5: "train", 6: "train"}
    images, urls = [], {"train2014": [], "val2014": []}
    for number, split in split_of.items():
        folder = "train2014" if split == "train" else "val2014"
        name = f"COCO_{folder}_{number:012d}.jpg"
        save(root / "coco" / folder / name, scene(number))
        save(root / "coco" / "train2017" / f"{number:012d}.jpg", scene(number))
        sentences = [{"raw": f"Photo {number}, sentence {n}."} for n in range(5)]
        entry = {"filepath": folder, "filename": name, "cocoid": number, "imgid": number, "split": split}
        images.append(entry | {"sentences": sentences})
        address = f"http://farm6.staticflickr.com/51/{1_000_000 + number}_0a1b2c_z.jpg"
        urls[folder].append({"id": number, "file_name": name, "flickr_url": address})
    write(root / "coco" / "dataset_coco.json", {"images": images, "dataset": "coco"})
    for folder, listed in urls.items():
        write(root / "coco" / "annotations" / f"captions_{folder}.json", {"images": listed, "annotations": []})
    boxes = [(number, [10, 5, 40, 30]) for number in split_of] + [(1, [500, 5, 40, 30])]
    write(root / "coco" / "annotations" / "instances_train2017.json", instances(split_of, boxes, "{:012d}.jpg"))
    save(root / "coco" / "test2015" / "COCO_test2015_000000000008.jpg", scene(8))


def instances(numbers, boxes, pattern):
    width, height = SIZE
    images = [{"id": n, "file_name": pattern.format(n), "width": width, "height": height} for n in numbers]
    annotations = [
        {"id": place, "image_id": number, "category_id": 1, "bbox": box, "iscrowd": 0, "area": 1}
        for place, (number, box) in enumerate(boxes, start=1)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}


def refer(root):
    def ref(number, image, split):
        sentences = [{"sent": f"the dog {n}", "sent_id": 10 * number + n} for n in range(2)]
        return {"ref_id": number, "ann_id": image, "image_id": image, "split": split, "sentences": sentences}

    content = instances((5, 6), [(5, [4, 4, 20, 20]), (6, [4, 4, 20, 20])], "COCO_train2014_{:012d}.jpg")
    content["annotations"] = [one | {"id": one["image_id"]} for one in content["annotations"]]
    for name, maker, tests in (
        ("refcoco", "unc", ("val", "testA", "testB")),
        ("refcoco+", "unc", ("val", "testA", "testB")),
        ("refcocog", "umd", ("val", "test")),
    ):
        refs = [ref(1, 6, "train"), *(ref(place, 5, split) for place, split in enumerate(tests, start=2))]
        folder = root / "refer" / name
        write(folder / "instances.json", content)
        (folder / f"refs({maker}).p").write_bytes(pickle.dumps(refs, protocol=2))


def visual_genome(root):
    numbers = {101: (None, None), 102: (4, None), 103: (None, 1_000_003), 104: (None, None)}
    shown = {101: scene(101), 102: scene(4, (80, 60)), 103: scene(103), 104: copy_of(4)}
    data, regions, attributes = [], [], []
    for number, (of_coco, of_flickr) in numbers.items():
        save(root / "vg" / "VG_100K_2" / f"{number}.jpg", shown[number])
        width, height = shown[number].size
        entry = {"image_id": number, "url": f"https://vg.example.org/rak248/VG_100K_2/{number}.jpg", "width": width}
        data.append(entry | {"height": height, "coco_id": of_coco, "flickr_id": of_flickr})
        box = {"x": 2, "y": 3, "width": 30, "height": 20}
        said = [
            {"region_id": n, "image_id": number, "phrase": "a grey wall" if n else "a dog", **box} for n in range(3)
        ]
        regions.append({"id": number, "regions": said})
        dog = {"object_id": 1, "names": ["dog"], "attributes": ["brown"], "x": 2, "y": 3, "w": 30, "h": 20}
        attributes.append({"image_id": number, "attributes": [dog, {**dog, "x": 4000}]})
    write(root / "vg" / "image_data.json", data)
    write(root / "vg" / "region_descriptions.json", regions)
    write(root / "vg" / "attributes.json", attributes)


def web(root):
    addresses = [
        "http://static.flickr.com/2723/1000004_b0f29.jpg",  # COCO's test image, as Flickr numbers it
        "http://blog.example.org/copy.jpg",
        "http://blog.example.org/new.jpg",
        "http://blog.example.org/torn.jpg",
        "http://blog.example.org/gone.jpg",
    ]
    write(root / "sbu" / "sbu-captions-all.json", {"image_urls": addresses, "captions": ["A dog."] * 5})
    for row, image in enumerate((scene(201), copy_of(4), scene(202))):
        save(root / "sbu" / "images" / f"{row:09d}.jpg", image)
    (root / "sbu" / "images" / f"{3:09d}.jpg").write_bytes(jpeg(203)[:300])
    rows = ["a dog\thttp://shop.example.org/1.jpg", "a cat\thttp://shop.example.org/2.jpg"]
    write(root / "cc3m" / "Train_GCC-training.tsv", "\n".join(rows) + "\n")
    save(root / "cc3m" / "images" / f"{0:09d}.jpg", scene(211))
    save(root / "cc3m" / "images" / f"{1:09d}.jpg", copy_of(302))  # of NLVR2's test


def jpeg(number):
    buffer = io.BytesIO()
    scene(number).save(buffer, "JPEG")
    return buffer.getvalue()


def gqa(root):
    width, height = SIZE
    dog = {"name": "dog", "x": 4, "y": 2, "w": 20, "h": 30, "attributes": ["brown"], "relations": []}
    graphs = {}
    for number, image in ((101, scene(101)), (102, scene(4))):
        save(root / "gqa" / "images" / f"{number}.jpg", image)
        graphs[str(number)] = {"width": width, "height": height, "objects": {"1": dog}}
    write(root / "gqa" / "train_sceneGraphs.json", graphs)
    save(root / "gqa" / "images" / "n161.jpg", scene(161))
    question = {"question": "Is it dark?", "imageId": "n161", "answer": "no"}
    write(root / "gqa" / "testdev_balanced_questions.json", {"1": question})


def flickr30k(root):
    width, height = SIZE
    xml = (
        f"<annotation><size><width>{width}</width><height>{height}</height></size><object><name>1</name>"
        "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>22</xmax><ymax>33</ymax></bndbox></object></annotation>"
    )
    images = []
    entities = root / "flickr30k" / "entities"
    for number, split in ((2_000_001, "train"), (2_000_002, "val"), (2_000_003, "test")):
        save(root / "flickr30k" / "images" / f"{number}.jpg", scene(number))
        write(entities / "Sentences" / f"{number}.txt", "[/EN#1/people A man] runs .\n" * 5)
        write(entities / "Annotations" / f"{number}.xml", xml)
        sentences = [{"raw": "A man runs ."}]
        images.append({"filename": f"{number}.jpg", "imgid": len(images), "split": split, "sentences": sentences})
    write(entities / "train.txt", "2000001\n2000002\n")  # the splits of Entities are not Karpathy's
    write(root / "flickr30k" / "dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})


def others(root):
    for split, number in (("dev", 301), ("test1", 302)):
        row = {"sentence": "One is red.", "label": "True", "identifier": f"{split}-0-0-0"}
        write(root / "nlvr2" / f"{split}.json", json.dumps(row) + "\n")
        for side in (0, 1):
            save(root / "nlvr2" / split / f"{split}-0-0-img{side}.png", scene(number + 10 * side))
    save(root / "coco" / "val2017" / f"{7:012d}.jpg", scene(7))
    write(root / "ovad" / "ovad2000.json", instances((7,), [(7, [4, 4, 20, 20])], "{:012d}.jpg"))
    save(root / "winoground" / "images" / "ex_0_img_0.png", scene(401))
