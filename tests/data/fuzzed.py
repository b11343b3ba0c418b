"""For every adapter: a folder of hostile files, and how it reads them. ``CASES`` has them by name."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.data import hostile
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.concat import Concat
from x2vlm.data.datasets.file_formats.coco import Coco
from x2vlm.data.datasets.file_formats.image_folder import ImageFolder
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.datasets.file_formats.lines_or_shards import LinesOrShards
from x2vlm.data.datasets.file_formats.plain_text import ParallelText, PlainText
from x2vlm.data.datasets.file_formats.tables import Table
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.datasets.file_formats.video_folder import VideoFolder
from x2vlm.data.datasets.file_formats.webdataset import WebDataset
from x2vlm.data.datasets.public_questions.hard_negatives import HardNegatives
from x2vlm.data.datasets.public_questions.nlvr_v1 import NlvrV1
from x2vlm.data.shard_writing.shard_record import EncodeRecord
from x2vlm.data.shard_writing.shard_writer import ShardWriter
from x2vlm.data.toy.tasks import ToyPairs, ToyQuestions
from x2vlm.data.toy.world import ToyWorld
from x2vlm.data.transforms.answers import PickAnswers
from x2vlm.data.transforms.images.classification_transforms import CropToBox
from x2vlm.data.transforms.images.load_crop_flip import Flip, LoadImage, RandomResizedCrop, Resize
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.regions import PickPhrases, PickRegions
from x2vlm.data.transforms.sample_frames import SampleFrames
from x2vlm.data.transforms.texts.answer_choices import PickHardNegatives
from x2vlm.data.transforms.texts.text_transforms import PickCaption, PickPair, PickQuestion, PickText

ENDINGS = ("png", "jpg", "webp", "gif", "bmp", "tif", "ppm")


class Stock(NamedTuple):
    """Whole images and clips, made once."""

    images: list[bytes]
    clips: list[bytes]


Case = Callable[[Path, random.Random, int, Stock], Callable[[], Adapter]]
"""Writes so many records into a folder; gives what opens them."""


def images(*steps: Any, region: bool = False) -> list[Any]:
    """A pipeline for images."""
    cut = [] if region else [RandomResizedCrop(16)]
    return [LoadImage(max_pixels=2**22), *steps, *cut, Resize(16), Flip(), PackSample()]


def frames(*steps: Any) -> list[Any]:
    """A pipeline for clips."""
    return [SampleFrames(2), *steps, Resize(16), PackSample()]


def folder_of_images(folder: Path, rng: random.Random, count: int, stock: Stock, good: float = 0.5) -> list[str]:
    """Files of images, about half of them whole; beside them a link out, a pipe, a folder and a file outside."""
    root = folder / "images"
    (root / "folder").mkdir(parents=True)
    (folder / "secret.png").write_bytes(stock.images[0])
    os.symlink("/etc/hostname", root / "link_out.png")
    os.mkfifo(root / "pipe.png")
    names = [f"{i}.{rng.choice(ENDINGS)}" for i in range(count)]  # whatever the ending says
    for name in names:
        whole = rng.random() < good
        (root / name).write_bytes(rng.choice(stock.images) if whole else hostile.image(rng, stock.images))
    return names


def lines(path: Path, rng: random.Random, trees: list[Any], harm: float = 0.8, bytes_too: float = 0.25) -> Path:
    """JSON lines of which most are harmed, as values or as bytes."""
    made = []
    for tree in trees:
        if rng.random() < harm:
            line = hostile.as_line(hostile.mutated(tree, rng))
            line = hostile.damaged(line, rng) if rng.random() < bytes_too else line
        else:
            line = hostile.as_line(tree)
        made.append(line)
    path.write_bytes(b"\n".join(made) + (rng.choice((b"", b"\n", b"\r\n\0")) if harm else b"\n"))
    return path


def elements(rng: random.Random) -> list[dict[str, Any]]:
    """Elements in order."""
    kinds = ("object", "region")
    return [
        {"bb": [rng.randrange(8), rng.randrange(8), 9, 8], "caption": "a cat", "attributes": "red", "kind": kind}
        for kind in rng.sample(kinds * 2, 3)
    ]


def captions(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """JsonLines: images with captions."""
    import base64

    names = folder_of_images(folder, rng, max(1, count // 4), stock)
    shown = [{"image": name} for name in names]
    shown += [{"binary": base64.b64encode(hostile.image(rng, stock.images)).decode()} for _ in names]
    captions = ("a red cat", ["a dog", "two dogs"], {"en": "a cat", "de": ["eine Katze"]})
    trees = [{**rng.choice(shown), "caption": rng.choice(captions), "image_id": i} for i in range(count)]
    file = lines(folder / "a.jsonl", rng, trees)
    return lambda: JsonLines(file, folder / "images", pipeline=images(PickCaption()))


def regions(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """JsonLines: images with elements."""
    names = folder_of_images(folder, rng, 4, stock, good=1)
    trees = [{"image": rng.choice(names), "caption": "a cat", "elems": elements(rng)} for _ in range(count)]
    file = lines(folder / "a.jsonl", rng, trees, bytes_too=0.1)
    steps = rng.choice((PickRegions(), PickPhrases()))
    return lambda: JsonLines(file, folder / "images", pipeline=images(steps, region=True))


def questions(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """JsonLines: questions with answers, in an array as in lines, and images that are read together."""
    names = folder_of_images(folder, rng, 4, stock, good=1)
    answers = (["red", "red", "blue"], "red", [["red", 0.5], ["blue", 1]])
    trees = [
        {"images": rng.choices(names, k=2), "question": "what?", "answer": rng.choice(answers), "label": "True"}
        for _ in range(count)
    ]
    file = lines(folder / "a.jsonl", rng, trees)
    if rng.random() < 0.3:
        file.write_bytes(b"[" + b",".join(file.read_bytes().split(b"\n")) + b"]")
    steps = [PickQuestion(), PickAnswers(), PickLabel(("False", "True"))]
    return lambda: JsonLines(file, folder / "images", pipeline=images(*steps))


def videos(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """JsonLines: clips, lists of frames, and clips that continue each other."""
    names = folder_of_images(folder, rng, 6, stock, good=0.8)
    for i in range(3):
        (folder / "images" / f"{i}.mp4").write_bytes(rng.choice(stock.clips))
    shown = [{"video": f"{i}.mp4"} for i in range(3)] + [{"frames": rng.choices(names, k=3)} for _ in range(3)]
    shown += [{"video_frames": rng.choices(names, k=3)} for _ in range(2)]
    trees = [{**rng.choice(shown), "caption": "a cat"} for _ in range(count)]
    for tree in trees[::3]:
        tree["clips"] = [{**rng.choice(shown), "caption": "a cat"} for _ in range(3)]
    for tree in trees[1::3]:
        clips = [rng.choices(names, k=2) for _ in range(3)]
        tree |= {"video_frames": clips, "caption": ["a cat"] * 3, "is_continuous": rng.random() < 0.5}
    file = lines(folder / "a.jsonl", rng, trees)
    return lambda: JsonLines(file, folder / "images", pipeline=frames(PickCaption()))


def table(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """Table: rows of text, or of images with captions."""
    names = folder_of_images(folder, rng, 4, stock, good=0.7)
    comma = rng.random() < 0.5
    rows = []
    for _ in range(count):
        cells = [rng.choice(names), "a red cat", "2"]
        if rng.random() < 0.7:
            cells[rng.randrange(3)] = str(hostile.value(rng))[: rng.choice((130_000,) * 30 + (140_000,))]
        row = ("," if comma else "\t").join(cells).replace("\n", " ").encode("utf-8", "surrogatepass")
        rows.append(hostile.damaged(row, rng) if rng.random() < 0.2 else row)
    file = folder / ("a.csv" if comma else "a.tsv")
    file.write_bytes(b"\n".join(rows))
    columns = dict(image=0, caption=1, label=2)
    pipeline = images(PickCaption(), PickLabel())
    return lambda: Table(file, columns, header=False, image_root=folder / "images", pipeline=pipeline)


def coco(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """Coco: instances and captions, wrong in an entry here and there, or as a file."""
    names = folder_of_images(folder, rng, count, stock, good=0.9)
    shown = [{"id": i, "file_name": name, "width": 24, "height": 20} for i, name in enumerate(names)]
    boxes = [
        {"id": n, "image_id": n % count, "category_id": 1, "bbox": [2, 2, 9, 9], "iscrowd": 0} for n in range(2 * count)
    ]
    captions = [{"id": n, "image_id": n % count, "caption": "a red cat"} for n in range(count)]
    kinds = [{"id": 1, "name": "cat"}]
    harmed = [
        [hostile.mutated(item, rng) if rng.random() < 0.15 else item for item in few]
        for few in (shown, boxes, captions)
    ]
    files = {
        "instances.json": {"images": harmed[0], "annotations": harmed[1], "categories": kinds},
        "captions.json": {"images": harmed[0], "annotations": harmed[2]},
    }
    spoilt = rng.random()
    for name, tree in files.items():
        tree = hostile.mutated(tree, rng) if spoilt < 0.1 else tree
        data = hostile.as_line(tree)
        (folder / name).write_bytes(hostile.damaged(data, rng) if 0.1 < spoilt < 0.2 else data)
    steps = images(PickCaption()) if rng.random() < 0.5 else images(PickRegions(), region=True)
    files = dict(captions_file=folder / "captions.json", instances_file=folder / "instances.json")
    return lambda: Coco(folder / "images", **files, pipeline=steps)


def image_folder(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """ImageFolder: images of all kinds, most of them damaged, a pipe and a link among them."""
    folder_of_images(folder / "all", rng, count, stock, good=0.2)
    return lambda: ImageFolder(folder / "all", pipeline=images(PickLabel()))


def nlvr(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """NlvrV1: lines beside a tar file or a folder."""
    shape = {"size": 20, "x_loc": 3, "y_loc": 40, "type": "circle", "color": "Yellow"}
    trees = [
        {
            "images": [f"{i % 8}.png"] * 2,
            "sentence": "There is a circle .",
            "label": rng.choice(("true", "false")),
            "identifier": str(i),
            "structured_rep": [[shape], [dict(shape, size=10)], [dict(shape, color="#0099ff")]],
        }
        for i in range(count)
    ]
    members = [(f"{i}.png", rng.choice(stock.images)) for i in range(8)]
    file = lines(folder / "a.jsonl", rng, trees)
    (folder / "a.tar").write_bytes(hostile.tar(members, rng))
    options = dict(only_true=rng.random() < 0.5, ambiguous=rng.random() < 0.5)
    return lambda: NlvrV1(file, folder / "a.tar", **options, pipeline=images(PickCaption(), PickLabel()))


def shards(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """TarShards: an index with captions, phrases and boxes beside a tar file."""
    shown = [hostile.image(rng, stock.images) if rng.random() < 0.4 else rng.choice(stock.images) for _ in range(count)]
    members = [(f"{i}.jpg", item) for i, item in enumerate(shown)]
    entities = {"1": {"boxes": [[2, 3, 6, 7], [9, 9, 5, 5]], "types": ["people"]}}
    captions = {"captions": ["a child"], "phrases": [{"text": "A child", "ent": "1"}], "entities": entities}
    trees = [{"key": str(i), "shard": "a.tar", "member": name, **captions} for i, (name, _) in enumerate(members)]
    (folder / "a.tar").write_bytes(hostile.tar(members, rng))
    file = lines(folder / "a.jsonl", rng, trees, harm=0.5)
    steps = images(PickCaption()) if rng.random() < 0.5 else images(PickPhrases(), region=True)
    multi = rng.choice(("union", "each", "first", "skip"))
    return lambda: TarShards(file, multi_box=multi, unique_phrases=rng.random() < 0.5, pipeline=steps)


def packed(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """TarShards: what make-shards packed, index and tar file damaged afterwards."""
    names = folder_of_images(folder, rng, count, stock, good=1)
    trees = [{"image": name, "caption": "a cat", "elems": elements(rng), "label": 1} for name in names]
    trees[::4] = [{"frames": rng.choices(names, k=2), "caption": "a cat", "question": "what?"} for _ in trees[::4]]
    whole = JsonLines(lines(folder / "a.jsonl", rng, trees, harm=0), folder / "images")
    shard, pack = ShardWriter(folder / "packed", "s"), EncodeRecord()
    (folder / "packed").mkdir(exist_ok=True)
    for i in range(len(whole)):
        shard.add(pack(whole, i))
    shard.finish()
    index, tar = folder / "packed" / "s.jsonl", folder / "packed" / "s.tar"
    lines(index, rng, [json.loads(line) for line in index.read_bytes().splitlines()], harm=0.6)
    if rng.random() < 0.5:
        tar.write_bytes(hostile.damaged(tar.read_bytes(), rng))
    return lambda: TarShards(index, pipeline=[_Whatever()])


def lines_or_shards(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """LinesOrShards: damaged lines, or what make-shards packed and was damaged afterwards."""
    if rng.random() < 0.5:
        packed(folder, rng, count, stock)
        return lambda: LinesOrShards(folder / "packed" / "s.jsonl", pipeline=[_Whatever()])
    captions(folder, rng, count, stock)
    return lambda: LinesOrShards(folder / "a.jsonl", folder / "images", pipeline=images(PickCaption()))


class _Whatever:
    """Images or frames, as the record has them."""

    def __init__(self) -> None:
        self.ways = {"image": images(PickCaption()), "video": frames(PickCaption()), "": frames(PickCaption())}

    def __call__(self, record: dict) -> Any:
        way = "image" if "image" in record else "video"
        for step in self.ways[way]:
            record = step(record)
        return record


def webdataset(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """WebDataset: tar files of images, texts and JSON."""
    members = []
    for i in range(count):
        shown = rng.choice(stock.images) if rng.random() < 0.6 else hostile.image(rng, stock.images)
        members.append((f"{i}.jpg", shown))
        text = rng.choice((b"a cat", b"\xff\xfe", "\ud800".encode("utf-8", "surrogatepass"), b"", b"a\0b"))
        members.append((f"{i}.txt", text if rng.random() < 0.4 else b"a cat"))
        tree = {"elems": elements(rng)}
        tree = hostile.as_line(hostile.mutated(tree, rng) if rng.random() < 0.6 else tree)
        members.append((f"{i}.json", hostile.damaged(tree, rng) if rng.random() < 0.3 else tree))
    (folder / "a.tar").write_bytes(hostile.tar(members, rng))
    elems = "json.elems" if rng.random() < 0.5 else None
    steps = images(PickRegions(), region=True) if elems else images(PickCaption())
    return lambda: WebDataset(folder / "a.tar", elems=elems, pipeline=steps)


def video_folder(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """VideoFolder: damaged clips, with captions from a file that may be damaged too, or from their names."""
    root = folder / "clips"
    root.mkdir()
    os.mkfifo(root / "pipe.mp4")
    names = [f"a_cat_{i}.{rng.choice(('mp4', 'mkv', 'avi'))}" for i in range(count)]
    for name in names:
        (root / name).write_bytes(hostile.clip(rng, stock.clips))
    pipeline = frames(PickCaption())
    if rng.random() < 0.5:
        return lambda: VideoFolder(root, pipeline=pipeline)
    trees = [{"file": name, "caption": ["a cat"]} for name in names]
    kind = rng.choice(("jsonl", "json", "csv"))
    if kind == "jsonl":
        lines(folder / "c.jsonl", rng, trees, harm=0.3)
    elif kind == "json":
        tree = {item["file"]: item["caption"] for item in trees}
        (folder / "c.json").write_bytes(hostile.as_line(hostile.mutated(tree, rng)))
    else:
        rows = [f"{name},{str(hostile.value(rng))[:100_000]!r}" for name in names]
        (folder / "c.csv").write_bytes("\n".join(["file,caption", *rows]).encode("utf-8", "surrogatepass"))
    return lambda: VideoFolder(root, folder / f"c.{kind}", pipeline=pipeline)


def sentence(rng: random.Random) -> bytes:
    """A line of text that may be anything."""
    text = rng.choice(hostile.TEXTS).replace("\n", " ").encode("utf-8", "surrogatepass")
    return rng.choice((b"a red cat runs", text, hostile.damaged(b"a red cat runs", rng)))


def plain(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """PlainText: bare lines, or JSON."""
    (folder / "a.txt").write_bytes(b"\n".join(sentence(rng) for _ in range(count)))
    lines(folder / "a.jsonl", rng, [{"text": "a red cat runs"}] * count)
    file, key = rng.choice((("a.txt", None), ("a.jsonl", "text")))
    return lambda: PlainText(folder / file, key, pipeline=[PickText(), PackSample()])


def parallel(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """ParallelText: JSON lines, or aligned files."""
    pipeline = [PickPair(), PackSample()]
    if rng.random() < 0.5:
        trees = [{"source": "a red cat", "target": "eine rote Katze"}] * count
        file = lines(folder / "a.jsonl", rng, trees)
        return lambda: ParallelText(file, keys=dict(en="source", de="target"), pipeline=pipeline)
    for name in ("a.en", "a.de"):
        (folder / name).write_bytes(b"\n".join(sentence(rng).replace(b"\n", b"") for _ in range(count)) + b"\n")
    return lambda: ParallelText(dict(en=folder / "a.en", de=folder / "a.de"), pipeline=pipeline)


def hard_negatives(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """HardNegatives: a file of any of the three layouts, each entry harmed or not."""
    names = folder_of_images(folder, rng, 4, stock, good=1)
    said = {"POS": ["a red cat"], "NEG": ["a red dog"]}
    box = {f"bbox_{side}": 8 for side in "xywh"}
    layout, entry = rng.choice(
        (
            ("sugarcrepe", lambda name: {"filename": name, "caption": "a cat", "negative_caption": "a dog"}),
            ("aro", lambda name: {"image_path": name, "true_caption": "a cat", "false_caption": "a dog", **box}),
            ("aro", lambda name: {"image": name, "caption_options": ["a cat", "a dog"]}),
            ("vl_checklist", lambda name: [name, said]),
        )
    )
    trees = [entry(rng.choice(names)) for _ in range(count)]
    trees = [hostile.mutated(tree, rng) if rng.random() < 0.8 else tree for tree in trees]
    inner = [hostile.as_line(tree) for tree in trees]
    if layout == "sugarcrepe":
        made = b"{" + b",".join(b'"%d":' % i + line for i, line in enumerate(inner)) + b"}"
    else:
        made = b"[" + b",".join(inner) + b"]"
    (folder / "a.json").write_bytes(hostile.damaged(made, rng) if rng.random() < 0.2 else made)
    cut = [CropToBox()] if layout == "aro" else []
    pipeline = [LoadImage(max_pixels=2**22), *cut, PickHardNegatives(), Resize(16), PackSample()]
    return lambda: HardNegatives(folder / "a.json", layout, folder / "images", pipeline=pipeline)


def concat(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """Concat: two of the others as one."""
    opened = []
    for name, case in (("one", captions), ("two", regions)):
        (folder / name).mkdir()
        opened.append(case(folder / name, rng, count // 2, stock))
    return lambda: Concat([item() for item in opened], times=(1, 2))


def toy_world(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """ToyWorld: reads nothing; options at random."""
    kind = rng.choice(("image", "region", "video"))
    ways = {
        "image": images(PickCaption()),
        "region": images(PickRegions(), region=True),
        "video": frames(PickCaption()),
    }
    return lambda: ToyWorld(kind, count, pipeline=ways[kind], **_toy_options(rng))


def toy_questions(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """ToyQuestions: reads nothing; options at random."""
    world = dict(num_scenes=count, **_toy_options(rng))
    return lambda: ToyQuestions(world=world, pipeline=images(PickQuestion(), PickAnswers()))


def toy_pairs(folder: Path, rng: random.Random, count: int, stock: Stock) -> Callable[[], Adapter]:
    """ToyPairs: reads nothing; options at random."""
    world = dict(num_scenes=2 * count, **_toy_options(rng))
    return lambda: ToyPairs(world=world, pipeline=images(PickCaption(), PickLabel()))


def _toy_options(rng: random.Random) -> dict[str, Any]:
    return dict(seed=rng.randrange(2**40), noise=rng.random() / 4, clutter=rng.randrange(4), tilt=rng.randrange(90))


CASES: dict[str, Case] = {
    "JsonLines captions": captions,
    "JsonLines regions": regions,
    "JsonLines questions": questions,
    "JsonLines videos": videos,
    "Table": table,
    "Coco": coco,
    "ImageFolder": image_folder,
    "NlvrV1": nlvr,
    "TarShards": shards,
    "TarShards packed": packed,
    "LinesOrShards": lines_or_shards,
    "WebDataset": webdataset,
    "VideoFolder": video_folder,
    "PlainText": plain,
    "ParallelText": parallel,
    "HardNegatives": hard_negatives,
    "Concat": concat,
    "ToyWorld": toy_world,
    "ToyQuestions": toy_questions,
    "ToyPairs": toy_pairs,
}
