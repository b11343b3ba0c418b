"""Captions of images as they are published, in several languages."""

from tests.data.datasets.layout_files import Layout, image, write, write_jsonl


def karpathy_flickr8k(root):
    images = []
    for number, split in enumerate(("train", "val", "val", "val")):
        name = f"{number}_693b08cb0e.jpg"
        image(root / "Flicker8k_Dataset" / name)
        sentences = [{"tokens": ["a"], "raw": f"A child {n} .", "imgid": number, "sentid": n} for n in range(5)]
        images.append({"sentids": [0], "imgid": number, "sentences": sentences, "split": split, "filename": name})
    images[3]["sentences"] = "A child"
    write(root / "dataset_flickr8k.json", {"images": images, "dataset": "flickr8k"})
    config = dict(type="KarpathySplit", ann_file="dataset_flickr8k.json", image_root="Flicker8k_Dataset", split="val")
    return Layout(config, 2, ["sentences: expected a list, got 'A child'"], {"id": "1"})


def coco_captions(root):
    images, said = [], []
    for number in (9, 25, 30):
        name = f"{number:012d}.jpg"
        image(root / "train2017" / name)
        images.append({"license": 3, "file_name": name, "coco_url": "u", "height": 48, "width": 64, "id": number})
        said += [{"image_id": number, "id": 10 * number + n, "caption": f"A plate {n}."} for n in range(2)]
    images[2]["file_name"] = "../outside.jpg"
    (root / "annotations").mkdir()
    write(root / "annotations/captions_train2017.json", {"info": {}, "images": images, "annotations": said})
    config = dict(type="Coco", image_root="train2017", captions_file="annotations/captions_train2017.json")
    return Layout(config, 2, ["lies outside the folder"], {"id": "9", "caption": ["A plate 0.", "A plate 1."]})


def flickr8k_token(root):
    for name in ("1000268201_693b08cb0e", "1001773457_577c3a7d70"):
        image(root / "Flicker8k_Dataset" / f"{name}.jpg")
    lines = [
        *("1000268201_693b08cb0e.jpg#0\tA child climbs stairs .", "1000268201_693b08cb0e.jpg#1\tA girl enters ."),
        *("1001773457_577c3a7d70.jpg#0\tTwo dogs fight .", "1002674143_1b742ab4b8.jpg no tab"),
    ]
    (root / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n")
    config = dict(type="CaptionLines", captions_file="Flickr8k.token.txt", image_root="Flicker8k_Dataset")
    first = {"id": "1000268201_693b08cb0e", "caption": ["A child climbs stairs .", "A girl enters ."]}
    return Layout(config, 2, [r"^Flickr8k\.token\.txt:4: expected name#number, a tab and a caption, got"], first)


def flickr8k_cn(root):
    image(root / "Flicker8k_Dataset" / "1000268201_693b08cb0e.jpg")
    lines = [f"1000268201_693b08cb0e.jpg#zhc#{n} 一个孩子".replace(" ", "\t") for n in range(2)]
    (root / "flickr8kzhc.caption.txt").write_text("\n".join([*lines, "1000268201_693b08cb0e.jpg#zhc#2\t"]) + "\n")
    config = dict(type="CaptionLines", captions_file="flickr8kzhc.caption.txt", image_root="Flicker8k_Dataset")
    config["captions_apart"] = True
    return Layout(config, 2, [r"txt:3: expected name#number"], {"caption": "一个孩子", "id": "1000268201_693b08cb0e"})


def coco_cn(root):
    names = [f"COCO_{part}2014_{number:012d}" for part, number in (("val", 320612), ("train", 36), ("train", 49))]
    for name in names:
        image(root / name.split("_")[1] / f"{name}.jpg")
    lines = [f"{names[0]}#0\t一个男人骑着自行车", f"{names[0]}#1\t骑车的人", f"{names[1]}#0\t一把伞"]
    (root / "imageid.human-written-caption.txt").write_text("\n".join(lines) + "\n")
    (root / "coco-cn_train.txt").write_text("\n".join(names) + "\n")
    config = dict(
        **dict(type="CaptionLines", captions_file="imageid.human-written-caption.txt", image_root="."),
        images_file="coco-cn_train.txt",
    )
    first = {"id": "320612", "caption": ["一个男人骑着自行车", "骑车的人"]}
    first["image"] = root / "val2014" / f"{names[0]}.jpg"
    return Layout(config, 2, [rf"^coco-cn_train\.txt:{names[2]}: no line of imageid"], first)


def multi30k_task1(root):
    names = ["1000092795.jpg", "10002456.jpg", "1000268201.jpg"]
    for name in names:
        image(root / "flickr30k-images" / name)
    (root / "train.txt").write_text("\n".join(names) + "\n")
    (root / "train.en").write_text("Two young guys.\nSeveral men.\n\n")
    (root / "train.de").write_text("Zwei junge Männer.\n\n\n")
    config = dict(type="Multi30k", images_file="train.txt", captions=dict(en="train.en", de="train.de"))
    config["image_root"] = "flickr30k-images"
    first = {"id": "1000092795", "caption": {"en": ["Two young guys."], "de": ["Zwei junge Männer."]}}
    return Layout(config, 2, [r"^train\.txt:3: no file has a caption of '1000268201\.jpg' in en, de"], first)


def multi30k_task2(root):
    for name in ("1000092795.jpg", "10002456.jpg"):
        image(root / "flickr30k-images" / name)
    (root / "train_images.txt").write_text("1000092795.jpg\n10002456.jpg\n../10002456.jpg\n")
    for number in (1, 2):
        (root / f"train.{number}.de").write_text(f"Zwei Männer {number}.\nMänner.\nEin Kind.\n")
    captions = dict(de=["train.1.de", "train.2.de"])
    config = dict(type="Multi30k", images_file="train_images.txt", captions=captions, image_root="flickr30k-images")
    return Layout(config, 2, ["lies outside the folder"], {"caption": {"de": ["Zwei Männer 1.", "Zwei Männer 2."]}})


WIT_HEAD = (
    "language page_url image_url page_title section_title hierarchical_section_title caption_reference_description "
    "caption_attribution_description caption_alt_text_description mime_type original_height original_width "
    "is_main_image attribution_passes_lang_id page_changed_recently context_page_description "
    "context_section_description"
)


def wit_tsv(root):
    def row(language, name, caption):
        url = f"http://upload.wikimedia.org/wikipedia/commons/5/5f/{name}"
        return [language, "p", url, "t", "", "t", caption, "English: x", "", "image/jpeg", "48", "64", *"ttt", "c", "s"]

    rows = [row("en", "Oxydactylus_longipes.jpg", '"A ""horned"" skeleton"'), row("de", "Caf%C3%A9.jpg", "Ein Café")]
    rows += [row("en", "gone.jpg", "not downloaded"), row("en", "Oxydactylus_longipes.jpg", ""), ["en", "cut"]]
    lines = ["\t".join(cells) for cells in (WIT_HEAD.split(), *rows)]
    (root / "wit_v1.train.all-00000-of-00010.tsv").write_text("\n".join(lines) + "\n")
    for name in ("Oxydactylus_longipes.jpg", "Café.jpg"):
        image(root / "wit_images" / name)
    config = dict(type="Wit", ann_file="wit_v1.train.all-*.tsv", image_root="wit_images", names="url")
    first = {"caption": {"en": 'A "horned" skeleton'}, "extras": {"language": "en"}}
    return Layout(config, 2, [r"tsv:6: has 2 columns; the first line has 17"], first)


def wit_iglue(root):
    import base64

    data = base64.b64encode(image(root / "a.jpg").read_bytes()).decode()
    base = {"image_url": "http://u/1.jpg", "image_content": data, "caption_reference_description": "A house"}
    rows = [base, {**base, "caption_reference_description": None}, {**base, "image_url": "http://u/2.jpg"}]
    write_jsonl(root / "test_en.jsonl", [*rows, {**base, "image_content": "images/1.jpg"}])
    config = dict(type="JsonLines", ann_file="test_en.jsonl", image_format="base64", require=["caption"])
    config["keys"] = dict(image="image_content", caption="caption_reference_description", id="image_url")
    return Layout(config, 2, ["expected base64, got 'images/1.jpg'"], {"caption": "A house", "id": "http://u/1.jpg"})


LAYOUTS = (
    *(karpathy_flickr8k, coco_captions, flickr8k_token, flickr8k_cn, coco_cn, multi30k_task1, multi30k_task2, wit_tsv),
    *(wit_iglue,),
)
