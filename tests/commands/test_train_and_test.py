"""``train`` and ``test`` as a user types them: exit status, sentences, files."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.engine.conftest import unformatted_configs  # noqa: F401 (used by all tests)
from tests.engine.tiny_parts import tiny_config
from x2vlm.commands import test as test_command
from x2vlm.commands import train as train_command

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config_file(tmp_path):
    """``config_file(max_iters=4, **top_level_changes)``: the tiny config as a file."""

    def write(*args, **changes) -> str:
        config = tiny_config(tmp_path / "work", *args, **changes)
        path = tmp_path / "tiny.py"
        Config(config).dump(path)
        return str(path)

    return write


def metrics(work_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]


def test_train_then_test(config_file, tmp_path, capsys):
    file = config_file()
    assert train_command.main([file]) == 0
    assert test_command.main([file, str(tmp_path / "work" / "iter_4.pth")]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^held_out\n  held_out/|^held_out\n  batches +3\.0000$", shown, re.MULTILINE)
    during, tested = metrics(tmp_path / "work")
    assert during["metrics"] == tested["metrics"]
    assert (during["mode"], tested["mode"], tested["iter"]) == ("val", "test", 4)
    assert tested["checkpoint"].endswith("iter_4.pth")


def test_the_options_reach_the_run(config_file, tmp_path, monkeypatch):
    run = {}
    monkeypatch.setattr("x2vlm.engine.runner.MixedRunner.train", lambda runner: run.update(cfg=runner.cfg, made=runner))
    monkeypatch.setattr(train_command, "_report_end", lambda *_: None)
    options = ["--work-dir", str(tmp_path / "elsewhere"), "--amp", "--cfg-options", "train_cfg.max_iters=9"]
    assert train_command.main([config_file(), *options]) == 0
    assert run["cfg"].optim_wrapper.precision == "bf16"
    assert run["made"].max_iters == 9
    assert run["made"].work_dir == str(tmp_path / "elsewhere")


def test_resume_goes_on(config_file, tmp_path):
    assert train_command.main([config_file(2)]) == 0
    assert train_command.main([config_file(4), "--resume"]) == 0
    branch = ["--resume", str(tmp_path / "work" / "iter_2.pth"), "--work-dir", str(tmp_path / "branch")]
    assert train_command.main([config_file(3), *branch]) == 0
    assert [line["iter"] for line in metrics(tmp_path / "work")] == [2, 4]
    assert [line["iter"] for line in metrics(tmp_path / "branch")] == [3]


def test_a_used_folder_is_refused_in_a_sentence(config_file, capsys):
    file = config_file(2)
    assert train_command.main([file]) == 0
    assert train_command.main([file]) == 2
    error = capsys.readouterr().err
    assert "holds the checkpoints of an earlier run" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model=dict(type="TinyModle")), r"model: 'TinyModle' is not .*Did you mean 'TinyModel'"),
        (dict(model=dict(type="TinyModel", widht=3)), r"model: .*'widht'.*'width'"),
        (dict(train_cfg=dict(type="MixedTrainLoop")), r"train_cfg: .*max_iters"),
        (dict(randomness=dict(seed=-1)), r"randomness\.seed: is -1; expected a whole number from 0 to 4294967295"),
        (dict(custom_hooks=[dict(type="LoggerHook", interval=0)]), r"custom_hooks\[0\]: .*could not be built: "),
        (dict(param_scheduler=dict(type="WarmupLinear", warmup=-1)), r"param_scheduler: WarmupLinear could not be bu"),
        (dict(bad_records=dict(max_fraction=7.0)), r"bad_records\.max_fraction is a share from 0 to 1, not 7\.0"),
        (dict(load_from="nowhere.pth"), r"there is no checkpoint nowhere\.pth"),
    ],
)
def test_a_mistake_in_the_config_is_a_sentence(config_file, capsys, changes, message):
    assert train_command.main([config_file(**changes)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error


def test_a_missing_annotation_file_is_a_sentence(config_file, tmp_path, capsys):
    streams = tiny_config(tmp_path)["streams"]
    streams["image"]["dataset"] = dict(type="JsonLines", ann_file=str(tmp_path / "nowhere.jsonl"))
    assert train_command.main([config_file(streams=streams)]) == 2
    error = capsys.readouterr().err
    assert "nowhere.jsonl" in error
    assert "Traceback" not in error


def test_a_missing_config_is_a_sentence(capsys):
    assert train_command.main(["configs/nowhere.py"]) == 2
    assert "configs/nowhere.py does not exist" in capsys.readouterr().err


def test_a_missing_checkpoint_is_a_sentence(config_file, capsys):
    assert test_command.main([config_file(), "nowhere.pth"]) == 2
    assert "there is no checkpoint nowhere.pth" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_not_tested(config_file, tmp_path, capsys):
    assert train_command.main([config_file(2)]) == 0
    other = config_file(model=dict(type="TinyModel", width=6))
    assert test_command.main([other, str(tmp_path / "work" / "iter_2.pth")]) == 2
    assert "does not fit this model" in capsys.readouterr().err


def test_a_file_in_the_place_of_the_work_folder_is_told(config_file, capsys):
    file = config_file()
    assert train_command.main([file, "--work-dir", f"{file}/run"]) == 2
    assert f"work_dir: {file}/run cannot be a folder, as {file} is a file" in capsys.readouterr().err


def test_weights_alone_are_not_resumed(config_file, tmp_path, capsys):
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, file)
    assert train_command.main([config_file(), "--resume", str(file)]) == 2
    assert f"To begin a new run from them: --cfg-options load_from={file}" in capsys.readouterr().err


def test_a_run_that_diverges_ends_with_a_sentence(config_file, tmp_path, capsys):
    assert train_command.main([config_file(model=dict(type="TinyModel", broken_after=2))]) == 1
    error = capsys.readouterr().err
    assert "the loss is not a finite number" in error
    assert "Traceback" not in error
    log = next((tmp_path / "work").glob("*/*.log")).read_text()
    assert "the loss is not a finite number" in log


def test_too_many_bad_records_end_the_run_with_a_list(config_file, tmp_path, capsys):
    streams = tiny_config(tmp_path)["streams"]
    streams["image"]["dataset"]["bad"] = list(range(10))
    assert train_command.main([config_file(streams=streams)]) == 1
    assert re.search(r"stream 'image'(.|\n)*tiny.jsonl:\d: it is broken", capsys.readouterr().err)


def test_an_error_in_the_code_keeps_its_traceback(config_file, monkeypatch):
    monkeypatch.setattr("x2vlm.engine.train_step.sum_of_losses", lambda outputs: outputs["no such loss"])
    with pytest.raises(KeyError):
        train_command.main([config_file()])


def test_a_mistake_in_the_config_does_not_wait_for_torch():
    code = "import sys; from x2vlm.commands.train import main; print(main(['nowhere.py']), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "2 False\n", done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_the_exit_status_and_the_command_to_go_on_is_given(config_file, tmp_path, capsys, number, status):
    file = config_file(custom_hooks=[dict(type="TinySignals", at=2, number=int(number))])
    assert train_command.main([file]) == status
    error = capsys.readouterr().err
    assert f"{number.name}: stopped after 2 of 4 iterations; {tmp_path / 'work' / 'iter_2.pth'} is saved." in error
    assert f"x2vlm train {file} --work-dir {tmp_path / 'work'} --resume" in error


@pytest.mark.slow
def test_ctrl_c_ends_the_script_with_a_checkpoint_although_its_workers_hear_it_too(config_file, tmp_path):
    streams = tiny_config(tmp_path)["streams"]
    streams["image"]["num_workers"] = 2
    command = [sys.executable, "tools/train.py", config_file(10**7, streams=streams)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: list((tmp_path / "work").glob("*/vis_data/scalars.json")), process)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130, error
    assert "--resume" in error
    assert "Traceback" not in error
    assert len(list((tmp_path / "work").glob("iter_*.pth"))) == 1


def wait_for(condition, process, seconds=60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "it never began to train"
        time.sleep(0.1)


def test_the_command_that_goes_on_with_a_run_has_its_changes_of_the_config():
    given = [
        "c.py",
        "--cfg-options",
        "data_root=a b",
        "x=[1,2]",
        "--amp",
        "fp16",
        "--work-dir",
        "old",
        "--cfg-options=y=-1",
    ]
    command = train_command.resume_command(train_command._parse(given), given, "work_dirs/c")
    start = "x2vlm train c.py --work-dir work_dirs/c --resume --amp fp16"
    assert command == f"{start} --cfg-options 'data_root=a b' 'x=[1,2]' --cfg-options=y=-1"
    before, after = (train_command._parse(part) for part in (given, shlex.split(command)[2:]))
    assert (before.cfg_options, before.amp) == (after.cfg_options, after.amp)
