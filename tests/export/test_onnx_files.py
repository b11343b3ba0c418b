"""Exported graphs compute what the model computes, for other numbers of images and texts than they were traced with."""

import json

import numpy as np
import pytest
import torch

from tests.models.conftest import VOCAB, tiny_model
from x2vlm.building import ConfigError
from x2vlm.data.batch import Batch
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.export.onnx_files import export_model, write_onnx
from x2vlm.export.torch_export import programs_of

VISION = {
    "beit2": dict(type="BEiT2", image_size=16, patch_size=8, width=16, depth=2, num_heads=2),
    "clip": dict(type="CLIPViT", image_size=16, patch_size=8, width=16, depth=2, num_heads=2, local_attn_depth=1),
    "swin": dict(type="Swin", image_size=64, first_width=8, depths=(1, 1), num_heads=(1, 2), window=4),
    "timm": dict(
        type="TimmVisionEncoder",
        name="vit_tiny_patch16_224",
        image_size=16,
        options=dict(patch_size=8, embed_dim=16, depth=1, num_heads=2),
    ),
}


def inputs(model, images=4, texts=5, length=7):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(images, 3, *model.vision_encoder.image_size, generator=generator)
    ids = torch.randint(5, 30, (texts, length), generator=generator)
    mask = torch.arange(length) < torch.tensor([[length], [length - 2], [3], [2], [length]])
    return pixels, ids.masked_fill(~mask, 0), mask


@torch.no_grad()
def expected_of(model, pixels, ids, mask, image):
    """Features of all images and texts; of one image logits and boxes for each text."""
    everything = model.encode_context(Batch(None, None, pixels=pixels, owner=torch.arange(len(pixels))))
    batch = Batch(ids, mask, pixels=pixels[image][None], owner=torch.zeros(len(ids), dtype=torch.long))
    encoded = model.encode(batch)
    logits = model.objectives["itm"].score(model.fuse(encoded.context, encoded.text)[:, 0])
    from x2vlm.boxes import cxcywh_to_xyxy

    boxes = cxcywh_to_xyxy(model.objectives["bbox"].box(model.fuse(encoded.full_context, encoded.text)[:, 0]))
    return everything.feat, encoded.text.feat, logits[:, 1] - logits[:, 0], boxes.clamp(0, 1)


@pytest.mark.parametrize("vision", VISION)
def test_programs_of_torch_give_the_models_numbers(vision):
    model = tiny_model(vision_encoder=VISION[vision])
    programs = {name: program.module() for name, program in programs_of(model).items()}
    pixels, ids, mask = inputs(model)
    with torch.no_grad():
        tokens, image_feat = programs["image"](pixels)
        states, text_feat = programs["text"](ids, mask)
        keys, values = programs["context"](tokens[2])
        found = image_feat, text_feat, *(programs[n](states, mask, keys, values) for n in ("matching", "boxes"))
    for ours, theirs in zip(found, expected_of(model, pixels, ids, mask, 2), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("vision", VISION)
def test_onnxruntime_gives_the_features_of_every_vision_encoder(vision, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = tiny_model(vision_encoder=VISION[vision])
    pixels, ids, mask = inputs(model)
    write_onnx(programs_of(model)["image"], tmp_path / "image.onnx", "image")
    session = runtime.InferenceSession(str(tmp_path / "image.onnx"))
    _, feat = session.run(None, {"pixels": pixels.numpy()})
    np.testing.assert_allclose(feat, expected_of(model, pixels, ids, mask, 2)[0].numpy(), atol=1e-4)


@pytest.mark.slow
def test_onnxruntime_gives_the_models_numbers(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = tiny_model()
    files = export_model(model, tmp_path, int8=True)
    sessions = {name: runtime.InferenceSession(str(file)) for name, file in files.items()}
    pixels, ids, mask = inputs(model)
    expected = expected_of(model, pixels, ids, mask, 2)

    def run(ending):
        tokens, image_feat = sessions[f"image{ending}"].run(None, {"pixels": pixels.numpy()})
        given = {"text_ids": ids.numpy(), "text_mask": mask.numpy()}
        states, text_feat = sessions[f"text{ending}"].run(None, given)
        keys, values = sessions[f"context{ending}"].run(None, {"tokens": tokens[2]})
        read = {"text_states": states, "text_mask": mask.numpy(), "keys": keys, "values": values}
        heads = [sessions[f"{name}{ending}"].run(None, read)[0] for name in ("matching", "boxes")]
        return [image_feat, text_feat, *heads]

    for ours, theirs in zip(run(""), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
    rounded = [np.abs(ours - theirs.numpy()).max() for ours, theirs in zip(run(".int8"), expected, strict=True)]
    assert 0 < max(rounded) < 0.5
    described = json.loads((tmp_path / "export.json").read_text())
    assert described["graphs"]["image"] == {"inputs": ["pixels"], "outputs": ["tokens", "feat"]}


def test_a_model_without_matching_has_towers_alone():
    model = tiny_model(objectives=dict(itc=dict(type="ITC")))
    assert list(programs_of(model)) == ["image", "text"]


def test_a_model_that_also_generates_captions_and_answers_has_the_graphs_of_its_other_tasks():
    objectives = dict(itc="ITC", itm="ITM", bbox="BBox", caption="CaptionGeneration", answer="AnswerGeneration")
    model = tiny_model(
        objectives={name: dict(type=kind) for name, kind in objectives.items()},
        tokenizer=bert_vocab(["a", "picture", "of", *(f"word{number}" for number in range(VOCAB - 8))]),
    )
    assert list(programs_of(model)) == ["image", "text", "context", "matching", "boxes"]


def test_what_cannot_be_exported_is_told(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="format is 'onxx'"):
        export_model(tiny_model(), tmp_path, "onxx")
    with pytest.raises(ConfigError, match="int8 weights are onnxruntime's"):
        export_model(tiny_model(), tmp_path, "torch", int8=True)
    monkeypatch.setattr("x2vlm.export.onnx_files.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs onnx, onnxscript, which .*export"):
        export_model(tiny_model(), tmp_path)
