"""Two processes over gloo: the same training as one process on both their batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.engine.tiny_parts import PLAN, sgd_config
from x2vlm.building import ConfigError
from x2vlm.commands.soak import differences
from x2vlm.distributed import exchange_device
from x2vlm.engine import build_runner
from x2vlm.engine.distributed.launch import default_backend, init_processes
from x2vlm.weights.read_weights import read_checkpoint

ROOT = Path(__file__).resolve().parents[3]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path)["state_dict"]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> Path:
    """The folder with the runs of two processes; see ``ddp_run.py``."""
    folder = tmp_path_factory.mktemp("two_processes")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [str(ROOT / "tests" / "engine" / "distributed" / "ddp_run.py"), str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("plain", {}), ("accumulated", dict(accumulative_counts=3))])
def test_two_processes_train_as_one_on_both_their_batches(two_processes, train, tmp_path, name, options):
    train(sgd_config(tmp_path / "one", 6, factor=2, **options))
    ours, theirs = weights(two_processes / name / "iter_6.pth"), weights(tmp_path / "one" / "iter_6.pth")
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], msg=key)


@pytest.mark.slow
def test_two_processes_take_the_turns_and_updates_of_one(two_processes, train, tmp_path):
    cfg = sgd_config(tmp_path / "one", 6, factor=2)
    cfg["train_cfg"] |= dict(plan=PLAN, global_batch=dict(image=4, text=6))
    train(cfg)
    ours, theirs = weights(two_processes / "planned" / "iter_6.pth"), weights(tmp_path / "one" / "iter_6.pth")
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], msg=key)


@pytest.mark.slow
def test_draws_are_counted_over_all_processes(two_processes):
    draws = torch.load(two_processes / "plain" / "iter_6.pth")["x2vlm_loop"]["draws"]
    assert draws == {"image": 6 * 2 * 2, "text": 6 * 3 * 2}


@pytest.mark.slow
def test_two_processes_go_on_to_the_bit(two_processes):
    ours, theirs = (weights(two_processes / name / "iter_6.pth") for name in ("parts", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "sharded"])
def test_a_bad_update_of_one_process_is_skipped_in_both_whenever_it_is_checked(two_processes, kind):
    early, late = (read_checkpoint(two_processes / f"skipped_{kind}_{when}" / "iter_9.pth") for when in (False, True))
    assert late["x2vlm_loop"]["bad_numbers"]["skipped"] >= 2
    for key in ("state_dict", "ema_state_dict", "optimizer", "x2vlm_loop"):
        assert not list(differences(early[key], late[key])), key


@pytest.mark.slow
def test_results_are_written_by_one_process(two_processes):
    lines = [json.loads(line) for line in (two_processes / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iter"] for line in lines] == [6]


@pytest.mark.slow
def test_the_script_for_several_processes_trains(config, tmp_path):
    Config(config(2)).dump(tmp_path / "tiny.py")
    command = ["bash", "tools/dist_train.sh", str(tmp_path / "tiny.py"), "2", "--work-dir", str(tmp_path / "work")]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "work" / "iter_2.pth").is_file()


def test_the_launcher_of_torchrun_needs_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match=r"launcher: .*torchrun"):
        init_processes("pytorch")


def test_an_interrupted_process_tells_the_others(config, monkeypatch):
    """What all_reduce would give, without a second process: one of the others has got SIGTERM (15)."""
    monkeypatch.setattr("x2vlm.engine.hooks.stop_hook.is_distributed", lambda: True)
    monkeypatch.setattr("x2vlm.engine.hooks.stop_hook.exchange_device", lambda device: device)
    monkeypatch.setattr("x2vlm.engine.hooks.stop_hook.dist.all_reduce", lambda number, op: number.fill_(15))
    cfg = config(40)
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 10  # they ask each other every ten iterations


@pytest.mark.parametrize(
    ("backends", "device"), [("cpu:gloo,cuda:nccl", "cpu"), ("cpu:gloo,cuda:gloo", "cpu"), ("cuda:nccl", "cuda")]
)
def test_numbers_for_python_are_exchanged_in_main_memory_where_that_is_possible(monkeypatch, backends, device):
    monkeypatch.setattr("x2vlm.distributed.dist.get_backend_config", lambda: backends)
    assert exchange_device(torch.device("cuda")) == torch.device(device)


def test_with_gpus_there_is_a_way_through_main_memory_too(tmp_path):
    assert [default_backend(gpus) for gpus in (True, False)] == ["cpu:gloo,cuda:nccl", "gloo"]
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group(default_backend(gpus=False), store=store, rank=0, world_size=1)
    try:
        assert exchange_device(torch.device("cuda")).type == "cpu"  # as torch itself words it
    finally:
        torch.distributed.destroy_process_group()
