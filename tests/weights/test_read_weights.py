"""Weights files: what is read, and what the user reads where one is refused."""

import argparse
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.read_weights import read_checkpoint, read_tensors


class Evil:
    """A pickle of this makes a file when it is loaded."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


class EvilCommand(Evil):
    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


STATE = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_found_in_whatever_wraps_it(wrap, zipped, tmp_path):
    torch.save(wrap(STATE), tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "x.pth")
    assert found.keys() == STATE.keys()
    assert torch.equal(found["a"], STATE["a"])


def test_names_of_a_wrapped_model_lose_the_wrapper(tmp_path):
    torch.save({"model": {f"module.{name}": value for name, value in STATE.items()}}, tmp_path / "x.pth")
    assert read_tensors(tmp_path / "x.pth").keys() == STATE.keys()


def test_safetensors_are_known_by_their_content_too(tmp_path):
    save_file(STATE, tmp_path / "x.bin")
    assert read_tensors(tmp_path / "x.bin").keys() == STATE.keys()


def test_a_folder_stands_for_the_weights_in_it(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert read_tensors(tmp_path)["a"].sum() == 0
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")  # preferred
    assert read_tensors(tmp_path)["a"].sum() == 1


def test_weights_in_several_files_are_put_together(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.ones(1)}, tmp_path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_tensors(tmp_path).keys() == {"a", "b"}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "wanted"),
    [(Evil, r"(io|_io|builtins)\.open"), (EvilCommand, r"(posix|os)\.system")],
)
def test_a_hostile_pickle_is_not_run_and_what_it_wanted_is_named(content, wanted, zipped, tmp_path):
    created = tmp_path / "created"
    torch.save({"model": STATE, "x": content(created)}, tmp_path / "x.th", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=rf"x\.th is no file of plain tensors: its pickle refers to {wanted}, .* nothing in it"
    ):
        read_checkpoint(tmp_path / "x.th")
    assert not created.exists()


def test_a_harmless_object_is_refused_by_name_as_well(tmp_path):
    torch.save({"model": STATE, "args": argparse.Namespace(lr=1)}, tmp_path / "x.th")
    with pytest.raises(CheckpointError, match=r"refers to argparse\.Namespace, .*save the state dict alone"):
        read_checkpoint(tmp_path / "x.th")


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "old.pth"])
def test_a_file_that_was_cut_off_says_so(name, tmp_path):
    path = tmp_path / name
    big = {"a": torch.zeros(5000)}
    if name == "x.safetensors":
        save_file(big, path)
    else:
        torch.save(big, path, _use_new_zipfile_serialization=name == "x.pth")
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(CheckpointError, match=rf"{name} is damaged.*cut off while it was copied: it has 10,000 bytes"):
        read_checkpoint(path)


def foreign_files(folder):
    (folder / "text.th").write_text("not a checkpoint")
    (folder / "noise.th").write_bytes(bytes(range(256)) * 8)
    with (folder / "plain.th").open("wb") as file:
        pickle.dump({"a": 1}, file)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "script.th")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", ["text.th", "noise.th", "plain.th", "script.th"])
def test_a_file_of_another_format_says_so(name, tmp_path):
    foreign_files(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{name} is neither a safetensors file nor a state dict"):
        read_checkpoint(tmp_path / name)


def test_what_is_not_there_or_empty_or_elsewhere_is_reported(tmp_path):
    (tmp_path / "empty.th").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").touch()
    for path, message in (
        (tmp_path / "none.th", r"there is no checkpoint .*none\.th \(looked from "),
        (tmp_path / "empty.th", r"empty\.th is empty"),
        (tmp_path / "folder", r"is a folder without weights: expected model\.safetensors .* found readme\.txt"),
        ("https://example.org/x.th", "is not a local file. Download it"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(path)


@pytest.mark.parametrize("content", [{"epoch": 3, "config": {"lr": 1.0}}, {"model": {}}])
def test_a_file_without_tensors_says_what_it_has(content, tmp_path):
    torch.save(content, tmp_path / "x.th")
    with pytest.raises(CheckpointError, match=r"holds no named tensors, only: (epoch, config|nothing)\. Expected"):
        read_tensors(tmp_path / "x.th")


def test_a_single_tensor_is_no_state_dict(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "x.th")
    with pytest.raises(CheckpointError, match=r"holds a Tensor, not a dict of named tensors"):
        read_tensors(tmp_path / "x.th")


WEIGHTS = {"text_proj.weight": torch.ones(2), "vision_encoder.net.bias": torch.zeros(1)}


def prefixed(prefix):
    return {prefix + name: value for name, value in WEIGHTS.items()}


@pytest.mark.parametrize(
    "content",
    [
        prefixed("_orig_mod."),
        {"vision_encoder._orig_mod.net.bias": torch.zeros(1), "text_proj._orig_mod.weight": torch.ones(2)},
        {"state_dict": prefixed("model.")},
        {"state_dict": prefixed("module._orig_mod.")},
        {"ema_state_dict": {"steps": torch.tensor(7), **prefixed("module.")}},
        {"epoch": 3, "model_ema": WEIGHTS},
    ],
)
def test_what_wrappers_put_around_weights_is_taken_off(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth").keys() == WEIGHTS.keys()


def test_averaged_weights_are_not_taken_where_there_are_others(tmp_path):
    torch.save({"ema_state_dict": {"a": torch.zeros(1)}, "state_dict": {"a": torch.ones(1)}}, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth")["a"].item() == 1
