"""A model as one folder that any machine can read."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from x2vlm.building import ConfigError
from x2vlm.data.batch import Batch
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.models.text import HFTextEncoder
from x2vlm.models.x2vlm import X2VLM
from x2vlm.weights import CheckpointError

WORDS = [f"word{i}" for i in range(15)]


@pytest.fixture
def model(tmp_path):
    """Built from a BERT folder and a vision checkpoint of this machine, with a tokenizer."""
    torch.manual_seed(0)
    tokenizer = bert_vocab(WORDS)
    sizes = dict(hidden_size=16, num_attention_heads=2, intermediate_size=64, max_position_embeddings=16)
    BertModel(BertConfig(vocab_size=len(tokenizer), num_hidden_layers=3, **sizes)).save_pretrained(tmp_path / "bert")
    built = X2VLM(
        vision_encoder=dict(type="BEiT2", image_size=32, width=16, depth=1, num_heads=2),
        text_encoder=dict(type=HFTextEncoder, path=str(tmp_path / "bert"), depth=2, dropout=0.2),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=1, num_heads=2, init_from=str(tmp_path / "bert")),
        objectives=dict(itc=dict(type="ITC"), itm=dict(type="ITM"), mlm=dict(type="MLM")),
        embed_dim=8,
        num_frames=2,
        tokenizer=tokenizer,
    )
    torch.nn.init.normal_(built.frame_positions)
    return built.eval()


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    for source in ("bert",):
        shutil.rmtree(tmp_path / source)  # another machine does not have it
    moved = tmp_path / "elsewhere" / "model"
    shutil.copytree(tmp_path / "saved", moved)
    shutil.rmtree(tmp_path / "saved")
    return moved


def features(model):
    generator = torch.Generator().manual_seed(1)
    batch = Batch(
        text_ids=torch.tensor([[2, 7, 8, 3]]),
        text_mask=torch.ones(1, 4, dtype=torch.bool),
        pixels=torch.randn(1, 3, 32, 32, generator=generator),
        owner=torch.zeros(1, dtype=torch.long),
    )
    with torch.no_grad():
        encoded = model.encode(batch)
        return encoded.text.feat, encoded.context.feat, model.fuse(encoded.context, encoded.text)


def test_a_model_comes_back_the_same_from_a_folder_alone(model, folder):
    again = X2VLM.from_pretrained(folder)
    assert not again.training
    for ours, theirs in zip(features(again), features(model), strict=True):
        assert torch.equal(ours, theirs)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert again.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert again.text_encoder.net.config.hidden_dropout_prob == 0.2


def test_a_folder_can_be_saved_and_read_again(folder, tmp_path):
    X2VLM.from_pretrained(folder).save_pretrained(tmp_path / "second")
    assert (tmp_path / "second" / "config.json").read_text() == (folder / "config.json").read_text()
    assert (tmp_path / "second" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_nothing_in_the_folder_names_a_place_of_this_machine(folder, tmp_path):
    for file in folder.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name
    settings = json.loads((folder / "config.json").read_text())
    assert "init_from" not in settings["model"]["fusion_encoder"]
    assert settings["model"]["text_encoder"]["config"]["num_hidden_layers"] == 2
    assert {"config.json", "model.safetensors", "tokenizer_config.json"} <= {file.name for file in folder.iterdir()}


def test_every_tensor_must_be_there_and_none_may_be_left_over(folder):
    tensors = load_file(folder / "model.safetensors")
    for changed, message in (
        ({name: v for name, v in tensors.items() if name != "temperature"}, "missing: temperature"),
        (tensors | {"text_encoder.extra": torch.zeros(1)}, r"without a place in the model: text_encoder\.extra"),
        (tensors | {"objectives.bbox.bias": torch.zeros(1)}, r"is not of the model in config\.json"),
        (tensors | {"temperature": torch.zeros(2)}, "of another size: temperature is 2 there and a number here"),
    ):
        save_file(changed, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=message):
            X2VLM.from_pretrained(folder)


def test_a_folder_of_something_else_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json: expected a folder that save_pretrained wrote"):
        X2VLM.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match=r"config\.json is not what save_pretrained writes"):
        X2VLM.from_pretrained(tmp_path)


def test_a_part_that_was_given_built_cannot_be_saved(model, tmp_path):
    other = X2VLM(model.vision_encoder, None, None, {}, embed_dim=None)
    with pytest.raises(ConfigError, match=r"model\.vision_encoder: was given as a built BEiT2"):
        other.save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_argument_that_is_a_path_of_this_machine_cannot_be_saved(model, tmp_path):
    model.arguments["objectives"]["itc"]["answers"] = str(tmp_path / "answers.json")
    with pytest.raises(
        ConfigError, match=r"model\.objectives\.itc\.answers: '.*answers\.json' is a path of this machine"
    ):
        model.save_pretrained(tmp_path / "x")
