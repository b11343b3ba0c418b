"""From annotation files to metrics: the batches that metrics expect are those that the data sets give."""

import json

import pytest
import torch
from PIL import Image

from tests.models.conftest import tiny_model
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.datasets.file_formats.coco import Coco
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.loader import EvaluationLoader
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.evaluation import AttributeMetric, ClassificationMetric, WinogroundMetric

WORDS = ["a", "dog", "chases", "cat", "red", "blue", "is", "left", "right"]
IMAGE = [dict(type="LoadImage"), dict(type="Resize", size=16)]


@pytest.fixture
def tokenizer():
    return bert_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


@pytest.fixture
def image_folder(tmp_path):
    rng = torch.Generator().manual_seed(0)
    for number in range(4):
        pixels = torch.randint(0, 256, (20, 24, 3), generator=rng, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{number}.png")
    return tmp_path


def loader(folder, lines, tokenizer, keys, pipeline):
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset = JsonLines(folder / "lines.jsonl", keys=keys, pipeline=[*IMAGE, *pipeline])
    return EvaluationLoader("test", dataset, PairCollate(tokenizer, masking=None), batch_size=2)


def test_winoground_from_a_file_with_two_images_and_two_captions_a_line(image_folder, tokenizer):
    lines = [
        {
            "id": 5,
            "caption_0": "a dog chases a cat",
            "caption_1": "a cat chases a dog",
            "image_0": f"{first}.png",
            "image_1": f"{second}.png",
            "tag": tag,
        }
        for first, second, tag in ((0, 1, "Object"), (2, 3, "Relation"), (1, 2, "Object"))
    ]
    keys = dict(
        images=dict(first="image_0", second="image_1"),
        caption=dict(first="caption_0", second="caption_1"),
        extras=("tag",),
    )
    data = loader(image_folder, lines, tokenizer, keys, [dict(type="AllCaptions"), dict(type="PackSample")])
    results = WinogroundMetric().evaluate(tiny_model(), data)
    shares = [results[f"itm_{kind}"] for kind in ("text", "image", "group")]
    assert all(share in (0, pytest.approx(100 / 3), pytest.approx(200 / 3), 100) for share in shares)
    assert {"itc_text_object", "itc+itm_group_relation"} <= results.keys()


def test_attributes_from_the_benchmarks_annotation_file(image_folder, tokenizer):
    names = [dict(id=0, name="color:red", freq_set="head"), dict(id=1, name="color:blue", freq_set="tail")]
    boxes = [(0, 1, (2, 3, 10, 8), [1, -1]), (0, 2, (5, 5, 9, 9), [0, 1]), (1, 1, (0, 0, 24, 20), [0, 0])]
    path = image_folder / "ovad.json"
    path.write_text(
        json.dumps(
            dict(
                attributes=names,
                categories=[dict(id=1, name="dog"), dict(id=2, name="cat")],
                images=[dict(id=i, file_name=f"{i}.png", width=24, height=20) for i in range(4)],
                annotations=[
                    dict(id=n, image_id=i, category_id=c, bbox=box, area=1, iscrowd=0, att_vec=labels)
                    for n, (i, c, box, labels) in enumerate(boxes)
                ],
            )
        )
    )
    steps = [dict(type="LoadImage"), dict(type="PickPhrases"), dict(type="Resize", size=16), dict(type="PackSample")]
    dataset = Coco(image_folder, instances_file=path, pipeline=steps)
    data = EvaluationLoader("test", dataset, PairCollate(tokenizer, masking=None), batch_size=2)
    results = AttributeMetric(path, tokenizer).evaluate(tiny_model(), data)
    assert results["chance_map_head"] == pytest.approx(100 / 3)
    assert results["chance_map_tail"] == pytest.approx(100 / 2)
    assert results["map_head"] in [pytest.approx(100 / rank) for rank in (1, 2, 3)]  # one of three boxes is red


def test_a_text_about_two_images_is_classified_from_a_file(image_folder, tokenizer):
    lines = [
        {"images": ["0.png", "1.png"], "sentence": "left is a dog", "label": "True", "identifier": "dev-1-0-0"},
        {"images": ["2.png", "3.png"], "sentence": "left is a dog", "label": "False", "identifier": "dev-1-1-0"},
        {"images": ["3.png", "1.png"], "sentence": "right is a cat", "label": "True", "identifier": "dev-1-0-1"},
    ]
    keys = dict(caption="sentence", extras=("identifier",))
    label = dict(type=PickLabel, classes=("False", "True"))
    data = loader(image_folder, lines, tokenizer, keys, [dict(type="PickCaption"), label, dict(type="PackSample")])
    model = tiny_model(
        objectives=dict(classification=dict(type="Classification", num_classes=2, contexts=2)), embed_dim=None
    )
    head = model.objectives["classification"].head[3]
    torch.nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([0.0, 1.0])  # always true
    results = ClassificationMetric(consistency="identifier").evaluate(model, data)
    assert [results["accuracy"], results["majority_accuracy"]] == pytest.approx([200 / 3, 200 / 3])
    assert results["consistency"] == 50  # sentence 0 is wrong about its second pair
