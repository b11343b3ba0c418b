"""Processes that Slurm started; and processes that do not answer."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from x2vlm.building import ConfigError
from x2vlm.engine.checkpoint.resume import checkpoints_in, iterations_of
from x2vlm.engine.distributed.launch import first_host, init_processes
from x2vlm.engine.distributed.stall import RankProgress
from x2vlm.weights.read_weights import read_checkpoint

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHON": sys.executable}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds=90.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def endless(config, tmp_path) -> Path:
    """A config file of a run that saves every tenth iteration, and goes on until it is stopped."""
    cfg = config(1_000_000, env_cfg=dict(dist_cfg=dict(timeout=4)))
    cfg["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=10, max_keep_ckpts=2)
    Config(cfg).dump(tmp_path / "endless.py")
    return tmp_path / "endless.py"


@pytest.fixture
def slurm(tmp_path):
    """``slurm(config, work_dir)``: starts ``tools/slurm_train.sh`` with a fake srun."""
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/engine/distributed/fake_srun.py "$@"\n')
    srun.chmod(0o755)
    started = []

    def start(*arguments):
        path = f"{srun.parent}:{os.environ['PATH']}"
        environment = {**ENVIRONMENT, "PATH": path, "FAKE_JOB": str(free_port() - 15_000 + 20_000)}
        command = ["bash", str(ROOT / "tools" / "slurm_train.sh"), *map(str, arguments)]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=180)  # reads its output to the end: a full pipe would block it


@pytest.mark.slow
def test_tasks_of_slurm_train_together_and_stop_with_a_checkpoint_at_sigterm(slurm, endless, tmp_path):
    job = slurm(endless, "--work-dir", tmp_path / "work")
    wait_for(lambda: checkpoints_in(tmp_path / "work") or job.poll() is not None)
    job.send_signal(signal.SIGTERM)
    _, output = job.communicate(timeout=60)
    assert job.returncode == 143, output
    last = checkpoints_in(tmp_path / "work")[-1]
    assert f"SIGTERM: stopped after {iterations_of(last)} of 1000000 iterations" in output
    draws = read_checkpoint(last)["x2vlm_loop"]["draws"]
    assert draws["image"] == iterations_of(last) * 2 * 2  # two processes with a batch of two
    again = slurm(endless, "--work-dir", tmp_path / "work", "--resume")
    wait_for(lambda: iterations_of(checkpoints_in(tmp_path / "work")[-1]) > iterations_of(last) or again.poll())
    assert again.poll() is None


def test_a_launcher_of_slurm_needs_srun_and_unknown_ones_are_refused(monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(ConfigError, match=r"launcher: .*SLURM_PROCID.* is not set; see tools/slurm_train\.sh"):
        init_processes("slurm")
    with pytest.raises(ConfigError, match=r"launcher: 'mpi' is not known\. Accepted: none, pytorch, slurm"):
        init_processes("mpi")


@pytest.mark.parametrize("dist_cfg", [dict(timeout=0), dict(timeout="long"), dict(time_out=3)])
def test_a_wrong_timeout_is_refused_with_its_config_path(dist_cfg):
    with pytest.raises(ConfigError, match=r"env_cfg\.dist_cfg: takes backend and timeout \(seconds, above 0\)"):
        init_processes("none", dist_cfg)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[003-007,12],login", "gpu003"), ("a1,a2", "a1"), ("rack[1-2]node[4,6]", "rack1node4"), ("one", "one")],
)
def test_the_first_host_of_a_list_of_slurm_is_found(nodes, first):
    assert first_host(nodes) == first


def test_a_single_process_waits_for_nobody():
    assert RankProgress().describe(RuntimeError("Timed out waiting 4000ms for recv operation to complete")) is None


@pytest.mark.slow
def test_the_others_end_with_its_number_and_a_checkpoint_when_a_process_stops(endless, tmp_path):
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "x2vlm.cli", "train", str(endless), "--work-dir", str(tmp_path / "work")]
    processes = [
        subprocess.Popen(
            command,
            env={**ENVIRONMENT, **meeting, "RANK": str(number), "LOCAL_RANK": str(number)},
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(2)
    ]
    try:
        wait_for(lambda: len(checkpoints_in(tmp_path / "work")) == 2)
        os.kill(processes[1].pid, signal.SIGSTOP)
        stopped = time.monotonic()
        _, output = processes[0].communicate(timeout=60)
        assert time.monotonic() - stopped < 30
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[0].returncode == 1
    sentence = r"iteration (\d+): waited \d+ s for process 1 \(last heard of at iteration \d+\) \((.+)\)"
    match = re.search(sentence, output)
    assert match, output
    assert re.search("timed out|timeout", match[2], re.IGNORECASE)  # torch's words depend on which wait ends first
    last = checkpoints_in(tmp_path / "work")[-1]
    assert iterations_of(last) == int(match[1]) - 1  # all but the step that could not be made
    assert f"{last.name} is saved, with all steps up to here; go on from it with --resume." in output
    done = subprocess.run(
        [*command, "--resume", "--cfg-options", f"train_cfg.max_iters={iterations_of(last) + 2}"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
