"""Converting files: there and back to the byte, into a config's model, and into a folder."""

import json

import pytest
import torch
from safetensors.torch import load_file

from x2vlm.cli import main
from x2vlm.models.x2vlm import X2VLM
from x2vlm.weights import read_checkpoint, read_tensors

CONFIG = """
model = dict(
    type="X2VLM",
    vision_encoder=dict(type="BEiT2", image_size={size}, width=64, depth=3, num_heads=4),
    text_encoder=dict(
        type="HFTextEncoder",
        config=dict(
            model_type="bert", num_hidden_layers=4, vocab_size=200, hidden_size=48, num_attention_heads=4,
            intermediate_size=96, max_position_embeddings=64,
        ),
    ),
    fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=4, mlp_width=96),
    objectives=dict({objectives}),
    embed_dim=32,
    num_frames=3,
)
"""
PRETRAINING = 'itm=dict(type="ITM"), mlm=dict(type="MLM"), bbox=dict(type="BBox")'


@pytest.fixture
def published(shared, tmp_path):
    """The recorded model as it is published: a dict under ``model``, beside its config."""
    tensors = load_file(shared / "golden" / "a_pretrain_beit2_bert.safetensors")
    state = {name[6:]: value for name, value in tensors.items() if name.startswith("state.")}
    torch.save({"model": state, "config": {"image_res": 64}}, tmp_path / "official.th")
    return tmp_path / "official.th", state


def config(folder, size=64, objectives=PRETRAINING):
    path = folder / "config.py"
    path.write_text(CONFIG.format(size=size, objectives=objectives))
    return str(path)


@pytest.mark.parametrize("middle", ["ours.safetensors", "ours.pth"])
def test_a_published_file_comes_back_to_the_byte(middle, published, tmp_path, capsys):
    source, state = published
    assert main(["convert-checkpoint", str(source), str(tmp_path / middle)]) == 0
    assert f"{middle}: 197 tensors of XVLM under our names." in capsys.readouterr().out
    assert main(["convert-checkpoint", str(tmp_path / middle), str(tmp_path / "back.th"), "--to", "published"]) == 0
    back = read_checkpoint(tmp_path / "back.th")["model"]
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) and back[name].dtype == state[name].dtype for name in state)


def test_into_the_model_of_a_config_tables_are_resized_and_the_report_is_printed(published, tmp_path, capsys):
    target = tmp_path / "large.safetensors"
    argv = ["convert-checkpoint", str(published[0]), str(target), "--config", config(tmp_path, size=96)]
    assert main(argv) == 0
    output = capsys.readouterr().out
    assert "loaded 197 of 197 tensors" in output
    assert "resized 3: vision_encoder.net.blocks.0.attn.relative_position_bias_table 52x4 -> 124x4" in output
    assert read_tensors(target)["vision_encoder.net.blocks.2.attn.relative_position_bias_table"].shape == (124, 4)


def test_into_a_folder_that_from_pretrained_reads(published, tmp_path, capsys):
    folder = tmp_path / "model"
    argv = ["convert-checkpoint", str(published[0]), str(folder), "--to", "folder", "--config", config(tmp_path)]
    assert main(argv) == 0
    model = X2VLM.from_pretrained(folder)
    assert torch.equal(model.temperature, published[1]["temp"])
    assert json.loads((folder / "config.json").read_text())["model"]["vision_encoder"]["image_size"] == 64


def test_what_does_not_fit_is_reported_and_nothing_is_written(published, tmp_path, capsys):
    objectives = 'classification=dict(type="Classification", num_classes=3)'
    target = tmp_path / "x.pth"
    argv = ["convert-checkpoint", str(published[0]), str(target), "--config", config(tmp_path, objectives=objectives)]
    assert main(argv) == 2
    assert "missing: objectives.classification.head.0.weight" in capsys.readouterr().err
    assert not target.exists()


def test_a_folder_needs_a_config(published, tmp_path, capsys):
    assert main(["convert-checkpoint", str(published[0]), str(tmp_path / "x"), "--to", "folder"]) == 2
    assert "give it with --config CONFIG" in capsys.readouterr().err


def test_a_file_of_something_else_is_reported(tmp_path, capsys):
    torch.save({"foo.bar": torch.zeros(1)}, tmp_path / "x.th")
    assert main(["convert-checkpoint", str(tmp_path / "x.th"), str(tmp_path / "y.th")]) == 2
    assert "the names are of no published class: foo.bar" in capsys.readouterr().err


def test_a_tensor_that_no_rule_knows_is_named(tmp_path, capsys):
    state = {"temp": torch.zeros(()), "text_encoder.cls.predictions.bias": torch.zeros(4), "surprise": torch.ones(2)}
    torch.save({"model": state}, tmp_path / "official.th")
    arguments = ["convert-checkpoint", str(tmp_path / "official.th"), str(tmp_path / "ours.safetensors")]
    assert main([*arguments, "--kind", "XVLM"]) == 0
    assert "1 that no rule knows, under the names they had: surprise" in capsys.readouterr().out


def test_a_file_that_is_there_is_not_written_over(tmp_path, capsys):
    torch.save({"model": {"temp": torch.zeros(())}}, tmp_path / "official.th")
    (tmp_path / "ours.pth").write_text("precious")
    assert main(["convert-checkpoint", str(tmp_path / "official.th"), str(tmp_path / "ours.pth")]) == 2
    assert "is there already and is not written over" in capsys.readouterr().err
    assert (tmp_path / "ours.pth").read_text() == "precious"


@pytest.mark.parametrize(
    "command",
    [
        ["convert-checkpoint", "nowhere.th", "{file}/ours.safetensors"],
        ["make-shards", "nowhere", "{file}"],
        ["browse-dataset", "nowhere", "--out", "{file}/page.html"],
    ],
)
def test_a_file_in_the_place_of_an_output_folder_is_told_first(tmp_path, capsys, command):
    file = tmp_path / "file"
    file.write_text("x")
    words = [word.format(file=file) for word in command]
    assert main(words) in (1, 2)
    assert f"{file} cannot be a folder, as {file} is a file" in capsys.readouterr().err
