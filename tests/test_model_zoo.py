"""Models by name: those of the library's configs, wherever it is installed, without downloading weights."""

import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import x2vlm
from x2vlm.building import ConfigError
from x2vlm.inference import Inferencer
from x2vlm.weights import CheckpointError

TEXTS = ["a red circle", "a blue square"]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def model(seed):
    return x2vlm.create_model("toy_pretrain")


def test_models_are_listed_by_a_pattern_of_the_name_or_of_its_last_part(root):
    nlvr = x2vlm.list_models("*nlvr*")
    assert {"finetune/x2vlm_base_nlvr2", "pretrain/nlvr_tiny"} <= set(nlvr)
    assert x2vlm.list_models("x2vlm_base_nlvr2") == ["finetune/x2vlm_base_nlvr2"]
    assert all(name.startswith("zeroshot/") for name in x2vlm.list_models("zeroshot/*"))
    assert x2vlm.list_models("no_such_*") == []
    folders = ("ablations", "demo", "finetune", "pretrain", "zeroshot")
    assert len(x2vlm.list_models()) == sum(len(list((root / "configs" / part).glob("*.py"))) for part in folders)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x2vlm_base_nlvr", r"no model 'x2vlm_base_nlvr'\. Did you mean 'x2vlm_base_nlvr2'\?.*list_models\(\)"),
        ("demo/toy_pretrian", r"Did you mean 'demo/toy_pretrain'\?"),
        ("xfm_base_retrieval_coco", "may be finetune/xfm_base_retrieval_coco or zeroshot/xfm_base_retrieval_coco"),
    ],
)
def test_a_name_that_is_not_one_model_is_told_with_the_nearest(name, message):
    with pytest.raises(ConfigError, match=message):
        x2vlm.create_model(name)


def test_a_created_model_can_be_asked_and_saved(model, image, tmp_path):
    assert not model.training
    before = Inferencer(model).match(image, TEXTS)
    model.save_pretrained(tmp_path / "model")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "iter_1.pth")
    for pretrained in (tmp_path / "model", str(tmp_path / "iter_1.pth")):
        assert Inferencer(x2vlm.create_model("toy_pretrain", pretrained)).match(image, TEXTS) == before


def test_an_override_changes_the_model_and_a_misspelt_one_is_told(model):
    assert x2vlm.create_model("toy_pretrain", overrides={"model.embed_dim": 8}).text_proj.out_features == 8
    with pytest.raises(ConfigError, match="embed_dim"):
        x2vlm.create_model("toy_pretrain", overrides={"model.embed_dmi": 8})


def test_weights_that_may_be_missing_are_told_and_others_are_an_error(model, tmp_path, caplog):
    state = model.state_dict()
    torch.save({"state_dict": state}, tmp_path / "pretrained.pth")
    with caplog.at_level(logging.WARNING, logger="x2vlm"):
        pairs = x2vlm.create_model("toy_pairs", tmp_path / "pretrained.pth")
    assert "left as the model was made" in caplog.text
    assert "text_encoder.net.embeddings" in caplog.text
    name = next(key for key in state if key.startswith("fusion_encoder."))
    assert torch.equal(pairs.state_dict()[name], state[name])
    torch.save({"state_dict": pairs.state_dict()}, tmp_path / "trained.pth")  # has a text encoder of its own
    again = x2vlm.create_model("toy_pairs", tmp_path / "trained.pth").state_dict()
    assert all(torch.equal(again[key], value) for key, value in pairs.state_dict().items())
    torch.save({"state_dict": {key: value for key, value in state.items() if key != name}}, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match="missing: fusion_encoder"):
        x2vlm.create_model("toy_pretrain", tmp_path / "less.pth")


def test_without_the_tokenizer_of_a_known_text_encoder_a_model_takes_token_ids(caplog):
    with torch.device("meta"), caplog.at_level(logging.WARNING, logger="x2vlm"):
        model = x2vlm.create_model("finetune/x2vlm_base_nlvr2")
    assert model.tokenizer is None
    assert model.text_encoder.vocab_size == 30522
    assert "'bert-base-uncased'" in caplog.text
    assert "give it token ids, or create it with tokenizer=FOLDER" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flickr8k_small", r"vocab\.txt.*The size of the vocabulary depends on it: give tokenizer=FOLDER"),
        ("x2vlm_base_captioning_coco", r"caption.*It needs a tokenizer, but.*bert-base-uncased.*tokenizer=FOLDER"),
    ],
)
def test_where_a_model_cannot_do_without_its_tokenizer_it_is_asked_for(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        x2vlm.create_model(name)


def test_a_tokenizer_of_another_folder_is_taken(model, tmp_path):
    model.tokenizer.save_pretrained(tmp_path)
    with torch.device("meta"):
        made = x2vlm.create_model("flickr8k_small", tokenizer=tmp_path)
    assert made.text_encoder.vocab_size == len(model.tokenizer)


INSTALLED = "import sys; sys.prefix = sys.argv[1]; import x2vlm; print(x2vlm.__file__, *x2vlm.list_models('toy_*'))"


def test_an_installed_package_finds_its_models_from_any_folder(root, tmp_path):
    shutil.copytree(root / "x2vlm", tmp_path / "lib" / "x2vlm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "configs", tmp_path / "prefix" / "share" / "x2vlm" / "configs")
    done = subprocess.run(
        [sys.executable, "-c", INSTALLED, str(tmp_path / "prefix")],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(tmp_path / "lib"))
    assert "demo/toy_pretrain" in done.stdout.split()


ELSEWHERE = """
import json, sys
import numpy as np, torch
import x2vlm
import x2vlm.transformers_auto.auto_classes
from transformers import AutoModel, AutoProcessor

image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
auto, processor = AutoModel.from_pretrained(sys.argv[1]), AutoProcessor.from_pretrained(sys.argv[1])
named = x2vlm.create_model("toy_pretrain", pretrained=sys.argv[1])
batch = processor(images=image, text=["a red circle", "a blue square"])
with torch.no_grad():
    logits = auto(**batch).match_logits.softmax(-1)[:, 1].tolist()
from x2vlm.inference import Inferencer
found = {one.text: one.probability for one in Inferencer(named).match(image, ["a red circle", "a blue square"])}
print(json.dumps([logits, [found["a red circle"], found["a blue square"]]]))
"""


@pytest.mark.slow
def test_another_process_reads_a_moved_folder_by_auto_classes_and_by_name(model, image, tmp_path):
    expected = {one.text: one.probability for one in Inferencer(model).match(image, TEXTS)}
    model.save_pretrained(tmp_path / "model")
    moved = (tmp_path / "model").rename(tmp_path / "moved")
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(moved)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for probabilities in json.loads(done.stdout.splitlines()[-1]):
        assert probabilities == pytest.approx([expected[text] for text in TEXTS], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["x2vlm_large_4m", "cclm_swin_4m", "xvlm_clip_4m", "xfm_base_glue_rte", "x2vlm_base_msrvtt_retrieval"]
)
def test_models_of_every_family_are_made_by_name(name, caplog):
    with torch.device("meta"):
        model = x2vlm.create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) > 1e8
