"""Fifty photographs through the commands, Python, the REST API, the page and onnxruntime: the numbers agree."""

import json
import tarfile

import numpy as np
import pytest

from x2vlm.cli import run
from x2vlm.inference import Inferencer

pytestmark = pytest.mark.slow
COUNT = 50
TEXTS = ["a red circle", "a blue square", "a green star"]
NEAR = dict(abs=1e-4)  # between runtimes, and between one image at a time and many


@pytest.fixture
def photographs(shared, tmp_path):
    """The first photographs of Flickr8k as ordinary files."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    with tarfile.open(shared / "data" / "real_captions" / "flickr8k" / "flickr8k_train-000000.tar") as tar:
        for member in [member for member in tar if member.isfile()][:COUNT]:
            (folder / member.name).write_bytes(tar.extractfile(member).read())
    assert len(list(folder.iterdir())) == COUNT
    return folder


@pytest.fixture
def model(cfg, checkpoint, tmp_path):
    """A model folder, and its path."""
    made = Inferencer.from_checkpoint(cfg, checkpoint)
    made.model.preprocessing = made.processor.settings.to_dict()
    made.model.save_pretrained(tmp_path / "model")
    return Inferencer.from_pretrained(tmp_path / "model"), tmp_path / "model"


@pytest.fixture
def in_python(model, photographs):
    """What Python says of every photograph: probabilities and cosines by text, and boxes."""
    inferencer, files = model[0], sorted(photographs.iterdir())
    matches = dict(zip(files, inferencer.match(files, TEXTS), strict=True))
    boxes = dict(zip(files, inferencer.ground(files, TEXTS), strict=True))
    return matches, boxes


def numbers(matches):
    """``[T, 2]``: probability and cosine of each text, from results or from their JSON."""
    plain = [one if isinstance(one, dict) else one.to_dict() for one in matches]
    by_text = {one["text"]: (one["probability"], one["similarity"]) for one in plain}
    return np.array([by_text[text] for text in TEXTS])


def corners(boxes):
    """``[T, 4]`` in 0..1."""
    plain = [one if isinstance(one, dict) else one.to_dict() for one in boxes]
    return np.array([one["box_xyxy"] for one in plain])


def test_commands_agree_with_python(model, photographs, in_python, capsys):
    matches, boxes = in_python
    for command, expected, read in (("match", matches, numbers), ("ground", boxes, corners)):
        assert run(command, [str(model[1]), str(photographs), *TEXTS]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(lines) == COUNT * len(TEXTS)
        for file, own in expected.items():
            found = read([line for line in lines if line["image"] == str(file)])
            assert found == pytest.approx(read(own), **NEAR), file.name
    assert run("search", [str(model[1]), str(photographs), TEXTS[0], "--k", "5"]) == 0
    found = [json.loads(line)["image"] for line in capsys.readouterr().out.splitlines()]
    assert found == [str(one.image) for one in model[0].retrieve(TEXTS[0], photographs, k=5)]


def test_the_api_and_the_page_agree_with_python(model, photographs, in_python, tmp_path):
    pytest.importorskip("gradio")
    from fastapi.testclient import TestClient

    from x2vlm.app.server import create_app
    from x2vlm.app.service import Service
    from x2vlm.app.web_page import page_of

    service = Service(model[0], photographs, tmp_path / "index")
    client = TestClient(create_app(service, page=False))
    on_page = {function.api_name: function.fn for function in page_of(service).fns.values()}
    matches, boxes = in_python
    for file in matches:
        image = {"image": (file.name, file.read_bytes(), "image/jpeg")}
        answer = client.post("/api/match", data={"text": TEXTS}, files=image).json()
        assert numbers(answer) == pytest.approx(numbers(matches[file]), **NEAR), file.name
        answer = client.post("/api/ground", data={"text": TEXTS}, files=image).json()
        assert corners(answer) == pytest.approx(corners(boxes[file]), **NEAR), file.name
        shown = on_page["match"](str(file), "\n".join(TEXTS))
        assert [shown[text] for text in TEXTS] == pytest.approx(numbers(matches[file])[:, 0], **NEAR), file.name
        assert corners(on_page["ground"](str(file), "\n".join(TEXTS), 1, 0)[1]) == pytest.approx(corners(answer))
    found = client.post("/api/search", data={"text": TEXTS[0], "k": 5}).json()
    expected = model[0].retrieve(TEXTS[0], photographs, k=5)
    assert [one["image"] for one in found] == [str(one.image) for one in expected]
    assert len(on_page["search"](TEXTS[0])) == 12


def test_onnxruntime_agrees_with_python(model, photographs, in_python, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from x2vlm.export.onnx_files import export_model

    inferencer, files = model[0], sorted(photographs.iterdir())
    exported = export_model(inferencer.model, tmp_path / "onnx")
    sessions = {name: runtime.InferenceSession(str(file)) for name, file in exported.items()}
    ids, mask = (tensor.numpy() for tensor in inferencer.processor.captions(TEXTS))
    states, text_feat = sessions["text"].run(None, {"text_ids": ids, "text_mask": mask})
    tokens, image_feat = sessions["image"].run(None, {"pixels": inferencer.processor.images(files).numpy()})
    assert image_feat == pytest.approx(inferencer.encode_image(files).numpy(), **NEAR)
    matches, boxes = in_python
    for number, file in enumerate(files):
        keys, values = sessions["context"].run(None, {"tokens": tokens[number]})
        pairs = {"text_states": states, "text_mask": mask, "keys": keys, "values": values}
        (logit,), (box,) = (sessions[name].run(None, pairs) for name in ("matching", "boxes"))
        found = np.stack([1 / (1 + np.exp(-logit)), text_feat @ image_feat[number]], axis=1)
        assert found == pytest.approx(numbers(matches[file]), **NEAR), file.name
        assert box == pytest.approx(corners(boxes[file]), **NEAR), file.name
