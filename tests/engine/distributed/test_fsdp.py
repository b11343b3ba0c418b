"""Two processes that share the weights train as two that have all of them, and leave checkpoints for any number."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.engine.distributed.sharded_parts import by_name, everything, tiny_sharded
from tests.test_configs_step import at_toy_size
from x2vlm.building import build
from x2vlm.commands import convert_checkpoint
from x2vlm.commands import test as test_command
from x2vlm.commands.soak import differences
from x2vlm.engine import build_runner
from x2vlm.engine.checkpoint.resume import newest_intact
from x2vlm.engine.hooks.ema_hook import clone_parameters
from x2vlm.models.layers.tower_layers import layers_of
from x2vlm.registry import MODELS, TOKENIZERS
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.integrity import SUMS, damage
from x2vlm.weights.read_weights import read_checkpoint, read_entry
from x2vlm.weights.sharded_checkpoint import REST, is_sharded_checkpoint

ROOT = Path(__file__).resolve().parents[3]
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The folder with the runs of two processes; see ``sharded_run.py``."""
    folder = tmp_path_factory.mktemp("sharded")
    build_runner(tiny_sharded(folder / "one", 6, factor=2)).train()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [str(ROOT / "tests" / "engine" / "distributed" / "sharded_run.py"), str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def curve(folder: Path) -> list[dict[str, float]]:
    return torch.load(folder / "curve.pth")


def assert_same_curve(ours: list, theirs: list, rtol: float) -> None:
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=rtol, abs=rtol)


@slow
@pytest.mark.parametrize(("name", "rtol"), [("plain", 1e-5), ("accumulated", 1e-5), ("planned", 1e-5), ("bf16", 2e-2)])
def test_losses_and_norms_of_every_stream_are_those_of_ddp(runs, name, rtol):
    assert_same_curve(curve(runs / f"{name}_sharded"), curve(runs / f"{name}_ddp"), rtol)


@slow
def test_weights_that_are_sent_in_bf16_learn_nearly_the_same(runs):
    rounded, exact = (sum(step["loss"] for step in curve(runs / name)) for name in ("rounded", "bf16_ddp"))
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=2e-2)


@slow
def test_evaluations_give_what_they_give_with_ddp(runs):
    lines = [(runs / f"accumulated_{kind}" / "metrics.jsonl").read_text() for kind in ("sharded", "ddp")]
    ours, theirs = (json.loads(line)["metrics"] for line in lines)
    assert ours == pytest.approx(theirs, abs=1e-5)


@slow
@pytest.mark.parametrize("key", ["state_dict", "ema_state_dict", "optimizer"])
def test_a_sharded_run_goes_on_to_the_bit(runs, key):
    ours, theirs = (read_checkpoint(runs / name / "iter_20.pth")[key] for name in ("again", "plain_sharded"))
    assert not list(differences(ours, theirs))


@slow
def test_a_sharded_run_with_its_objectives_in_another_order_keeps_every_state_where_it_belongs(runs):
    ours, theirs = (read_checkpoint(runs / n) for n in ("swapped/resumed.pth", "plain_sharded/iter_15.pth"))
    assert list(ours["state_dict"]) != list(theirs["state_dict"])
    assert not list(differences(by_name(ours), by_name(theirs)))


@slow
@pytest.mark.parametrize("name", ["from_file", "to_ddp"])
def test_sharded_runs_go_on_from_a_file_and_ddp_from_a_folder(runs, name):
    assert_same_curve(curve(runs / name), curve(runs / "plain_sharded")[15:], 1e-5)


@slow
def test_one_process_goes_on_where_two_stopped_and_the_other_way_round(runs):
    begin = runs / "two_then_one" / "iter_3.pth"
    shutil.copytree(runs / "two" / "iter_3.pth", begin)
    build_runner(tiny_sharded(begin.parent, 6, factor=2, resume=True)).train()
    expected = read_checkpoint(runs / "one" / "iter_6.pth")
    for name in ("two_then_one", "one_then_two"):
        actual = read_checkpoint(runs / name / "iter_6.pth")
        for key in ("state_dict", "ema_state_dict"):
            torch.testing.assert_close(actual[key], expected[key], rtol=1e-4, atol=1e-5, msg=f"{name} {key}")
        torch.testing.assert_close(actual["optimizer"]["state"], expected["optimizer"]["state"], rtol=1e-4, atol=1e-5)
        assert actual["x2vlm_loop"]["draws"] == expected["x2vlm_loop"]["draws"]


@slow
def test_the_last_checkpoints_and_the_best_are_kept(runs):
    assert sorted(path.name for path in (runs / "plain_sharded").glob("*.pth*")) == [
        "curve.pth",
        "iter_15.pth",
        "iter_20.pth",
    ]
    assert len(list((runs / "two").glob("best_held_out_loss_free_iter_*.pth"))) == 1


@slow
@pytest.mark.parametrize("way", ["file", "safetensors", "folder"])
def test_what_was_learned_is_tested_from_the_folder_and_from_one_ordinary_file(runs, tmp_path, way):
    source = runs / "accumulated_sharded" / "iter_4.pth"
    target = {"file": tmp_path / "one.pth", "safetensors": tmp_path / "one.safetensors", "folder": source}[way]
    if way != "folder":
        assert convert_checkpoint.main([str(source), str(target)]) == 0
    everything(tmp_path, 4, evaluate=True).dump(tmp_path / "config.py")
    assert test_command.main([str(tmp_path / "config.py"), str(target), "--work-dir", str(tmp_path / "work")]) == 0
    actual = json.loads((tmp_path / "work" / "metrics.jsonl").read_text())["metrics"]
    expected = json.loads((runs / "accumulated_sharded" / "metrics.jsonl").read_text())["metrics"]
    assert actual == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def folder(runs, tmp_path) -> Path:
    """A copy of a checkpoint in parts, to do harm to."""
    return Path(shutil.copytree(runs / "two" / "iter_3.pth", tmp_path / "iter_3.pth"))


@slow
def test_damage_to_any_file_is_noticed_and_the_checkpoint_before_is_taken(runs, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "iter_6.pth")
    assert damage(folder) is None
    part = next((tmp_path / "iter_6.pth").glob("shard-00002*"))
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    newest, warnings = newest_intact(tmp_path)
    assert newest == folder
    assert "iter_6.pth is damaged (the content of shard-00002" in warnings[0]
    assert (tmp_path / "iter_6.pth.damaged").is_dir()


@slow
def test_a_file_that_was_not_copied_is_named(folder):
    part = next(folder.glob("shard-00002*"))
    part.unlink()
    assert damage(folder) == f"its part {part.name} is missing"
    with pytest.raises(CheckpointError, match=rf"is damaged: its part {part.name} is missing"):
        read_checkpoint(folder)
    (folder / SUMS).unlink()
    assert damage(folder) == f"its list of hashes, {SUMS}, is missing"
    with pytest.raises(CheckpointError, match=r"is not complete: \d+ tensors lack .*perhaps one was not copied"):
        read_checkpoint(folder)


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, trap):
        self.trap = trap

    def __reduce__(self):
        return (Path.touch, (self.trap,))


@slow
def test_an_evil_pickle_in_a_folder_does_nothing(folder, tmp_path):
    """Torch's own reader of sharded checkpoints unpickles ``.metadata`` freely."""
    trap = tmp_path / "trap"
    (folder / ".metadata").write_bytes(pickle.dumps(Evil(trap)))
    assert "state_dict" in read_checkpoint(folder)
    assert not trap.exists()
    torch.save(Evil(trap), folder / REST)
    (folder / SUMS).unlink()  # whoever changes a folder can take its hashes away
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        read_checkpoint(folder)
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        read_entry(folder, "meta")
    assert not trap.exists()
    with suppress(AttributeError):  # the trap works: the other reader walks into it
        torch.distributed.checkpoint.FileSystemReader(str(folder)).read_metadata()
    assert trap.exists()


@pytest.mark.parametrize(
    "config",
    [
        "pretrain/x2vlm_base_4m",
        "pretrain/xvlm_swin_4m",
        "pretrain/xvlm_clip_4m",
        "finetune/x2vlm_base_vqa",
        "demo/toy_pretrain",
    ],
)
def test_every_layer_of_every_tower_is_a_unit(config, tmp_path):
    cfg = at_toy_size(ROOT / "configs" / f"{config}.py", tmp_path)
    model = build(MODELS, cfg.model, "model", tokenizer=build(TOKENIZERS, cfg.tokenizer, "tokenizer"))
    units = layers_of(model)
    towers = {name: [unit for unit in units if unit in set(tower.modules())] for name, tower in model.towers.items()}
    blocks = 2 if "swin" in config else 1
    expected = {"vision_encoder": blocks, "text_encoder": 1, "fusion_encoder": 1}
    assert {name: len(inside) for name, inside in towers.items()} == expected
    assert len(units) - sum(expected.values()) == (1 if "vqa" in config else 0)  # the decoder's


def test_a_mirror_has_names_values_and_order_of_the_model_and_shared_weights_once():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(2, 3))
    model[2].weight = model[0].weight
    clone = clone_parameters(model)
    assert list(clone.state_dict()) == list(model.state_dict())
    assert [name for name, _ in clone.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert all(torch.equal(clone.state_dict()[name], value) for name, value in model.state_dict().items())
    assert copy.deepcopy(clone).state_dict().keys() == clone.state_dict().keys()


def test_a_folder_without_a_rest_is_no_checkpoint_in_parts(tmp_path):
    assert not is_sharded_checkpoint(tmp_path)
