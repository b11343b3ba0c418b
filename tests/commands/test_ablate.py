import json
import os
import signal
import subprocess
import sys
import time

import pytest

from x2vlm.building import ConfigError
from x2vlm.commands.ablate import main, unique_names, write_report
from x2vlm.commands.shared.ablation_run import RECORD, AblationConfig, AblationRun, last_line, perform

FINISHED = {"status": "finished", "metrics": {"r1": 1.0, "iou": 0.5}}


@pytest.fixture
def run(tmp_path):
    plan = AblationConfig(tmp_path / "c.py", ("train_cfg.max_iters=4",), max_iters=4, fingerprint="abc")
    return AblationRun(plan, seed=2, folder=tmp_path / "c" / "seed2")


def write_metrics(run, **iterations):
    run.folder.mkdir(parents=True, exist_ok=True)
    lines = [{"iter": int(name[4:]), "metrics": {"r1": value}} for name, value in iterations.items()]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_run_is_the_ordinary_command_with_its_seed_and_folder(run):
    command = run.command("train", "--resume")
    assert command[:4] == [sys.executable, "-m", "x2vlm.cli", "train"]
    assert command[command.index("--work-dir") + 1] == str(run.folder)
    assert command[-3:] == ["--cfg-options", "randomness.seed=2", "train_cfg.max_iters=4"]


def test_the_metrics_of_a_run_are_those_after_its_last_iteration(run):
    write_metrics(run, iter2=0.1, iter4=0.9)
    assert run.metrics() == {"r1": 0.9}


def test_a_run_that_did_not_reach_its_end_has_no_metrics(run):
    write_metrics(run, iter2=0.1)
    assert run.metrics() is None


def test_a_run_that_was_not_started_has_no_record(run):
    assert run.recorded() == {}


def test_a_finished_run_is_not_repeated(run):
    run.folder.mkdir(parents=True)
    record = json.loads(json.dumps(run.write(**FINISHED)))
    assert perform(run, print) == record


def test_a_folder_with_a_run_of_another_config_is_refused(run):
    run.folder.mkdir(parents=True)
    run.write(**FINISHED)
    other = AblationRun(AblationConfig(run.plan.config, (), 4, fingerprint="xyz"), run.seed, run.folder)
    with pytest.raises(ConfigError, match=r"seed2 holds a run of another version of .*c\.py.*Give another --work-dir"):
        other.recorded()


def test_a_folder_with_anything_else_is_refused(run):
    write_metrics(run, iter4=1.0)
    with pytest.raises(ConfigError, match="seed2 holds something else"):
        run.recorded()


def test_a_failed_run_is_recorded_with_the_last_line_of_its_log(run):
    record = perform(run, print)  # its config does not exist
    assert record["status"] == "failed"
    assert "c.py" in record["reason"]
    assert run.recorded()["status"] == "failed"


def test_the_report_holds_the_finished_runs_and_names_the_failed_ones(tmp_path):
    records = {"base": {0: FINISHED}, "other": {0: FINISHED, 1: {"status": "failed", "reason": "no luck"}}}
    assert write_report(records, "base", tmp_path) == ["r1", "iou"]
    assert "- **failed**: other, seed 1: no luck" in (tmp_path / "table.md").read_text()
    assert "other,r1,1,1.0" in (tmp_path / "table.csv").read_text()
    assert json.loads((tmp_path / "runs.json").read_text())["other"]["1"]["reason"] == "no luck"


def test_the_table_shows_the_selected_metrics_and_the_csv_all(tmp_path):
    write_report({"base": {0: FINISHED}}, "base", tmp_path, metrics=["iou"])
    assert "r1" not in (tmp_path / "table.md").read_text()
    assert "r1" in (tmp_path / "table.csv").read_text()


def test_a_config_given_twice_is_run_once(tmp_path):
    assert list(unique_names([tmp_path / "a.py", tmp_path / "b.py", tmp_path / "a.py"])) == ["a", "b"]


def test_two_configs_of_one_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="would share the name 'a'"):
        unique_names([tmp_path / "x" / "a.py", tmp_path / "y" / "a.py"])


def test_the_last_line_of_a_log_that_is_not_blank(tmp_path):
    (tmp_path / "log").write_text("Traceback\n  line\nValueError: no\n\n  \n")
    assert last_line(tmp_path / "log") == "ValueError: no"


def test_a_config_that_does_not_exist_stops_before_the_first_run(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        main([str(tmp_path / "missing.py"), "--work-dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_config_that_counts_epochs_is_refused(tmp_path):
    epochs = tmp_path / "epochs.py"
    epochs.write_text(
        "streams = dict(image=dict(dataset=dict(type='ToyWorld'), batch_size=2))\n"
        "metric = dict(type='RetrievalMetric')\n"
        "evaluations = dict(retrieval=dict(dataset=dict(type='ToyWorld'), batch_size=2, metric=metric))\n"
        "train_cfg = dict(type='MixedTrainLoop', max_epochs=3)\n"
    )
    with pytest.raises(ConfigError, match=r"epochs\.py counts epochs; .*train_cfg\.max_iters"):
        main([str(epochs), "--work-dir", str(tmp_path / "out")])


def test_zero_seeds_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "a.py"), "--seeds", "0"])
    assert "--seeds must be at least 1" in capsys.readouterr().err


@pytest.fixture(scope="module")
def toy_ablation(root, tmp_path_factory):
    """An ablation at toy size: two configs, two seeds, two steps each; and its arguments."""
    folder = tmp_path_factory.mktemp("ablation")
    configs = [str(root / "configs" / "ablations" / f"{name}.py") for name in ("base", "no_regions")]
    sizes = ["train_cfg.max_iters=2", "train_cfg.val_interval=2", "param_scheduler.warmup=0"]
    sizes += ["streams.image.batch_size=4", "streams.region.batch_size=4", "streams.region.max_images=3"]
    sizes += [f"evaluations.{name}.dataset.num_scenes=8" for name in ("image_retrieval", "grounding")]
    arguments = [*configs, "--seeds", "2", "--work-dir", str(folder), "--cfg-options", *sizes]
    return folder, arguments, main(arguments)


@pytest.mark.slow
def test_an_ablation_runs_every_config_with_every_seed(toy_ablation):
    folder, _, status = toy_ablation
    records = json.loads((folder / "runs.json").read_text())
    assert status == 0
    assert {name: list(runs) for name, runs in records.items()} == {"base": ["0", "1"], "no_regions": ["0", "1"]}
    assert all("image_retrieval/r_mean" in run["metrics"] for runs in records.values() for run in runs.values())


@pytest.mark.slow
def test_an_ablation_leaves_a_table_and_a_plot(toy_ablation):
    folder, _, _ = toy_ablation
    table = (folder / "table.md").read_text()
    assert table.startswith("| metric | base | no_regions |")
    assert "Finished runs: base 2, no_regions 2." in table
    assert "failed" not in table
    assert (folder / "plot.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_finished_ablation_is_not_repeated(toy_ablation, capsys):
    folder, arguments, _ = toy_ablation
    before = (folder / "base" / "seed0" / "metrics.jsonl").read_text()
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("done before") == 4
    assert (folder / "base" / "seed0" / "metrics.jsonl").read_text() == before


@pytest.mark.slow
def test_a_run_without_its_last_evaluation_gets_it_without_training_again(toy_ablation):
    folder, arguments, _ = toy_ablation
    seed = folder / "base" / "seed1"
    (seed / "metrics.jsonl").unlink()
    (seed / RECORD).write_text(json.dumps(json.loads((seed / RECORD).read_text()) | {"status": "started"}))
    assert main(arguments) == 0
    lines = [json.loads(line) for line in (seed / "metrics.jsonl").read_text().splitlines()]
    assert [(line["mode"], line["iter"]) for line in lines] == [("val", 2)]


@pytest.mark.slow
def test_a_folder_is_not_shared_with_an_ablation_of_other_sizes(toy_ablation):
    _, arguments, _ = toy_ablation
    with pytest.raises(ConfigError, match=r"seed0 holds a run of another version of .*base\.py"):
        main([*arguments, "streams.image.weight=0.5"])


def test_a_file_in_the_place_of_the_work_folder_is_told_before_the_first_run(tmp_path, root):
    (tmp_path / "file").touch()
    config = str(root / "configs" / "ablations" / "base.py")
    with pytest.raises(ConfigError, match=r"--work-dir .*file is a file, but a folder is needed"):
        main([config, "--work-dir", str(tmp_path / "file")])


CHILD = """
import pathlib, signal, sys, time
def stop(*_):
    if pathlib.Path("asked").exists():
        sys.exit(1)
    pathlib.Path("asked").touch()
    time.sleep({saving})
    pathlib.Path("saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path("begun").touch()
time.sleep(60)
"""
PARENT = """
import signal, sys
from pathlib import Path
from x2vlm.commands.shared.ablation_run import _call
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    _call([sys.executable, "-c", {child!r}], Path("log"))
except KeyboardInterrupt:
    sys.exit(0 if Path("saved").exists() else 3)
"""


def wait_for(file):
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_stops_an_ablation_stops_its_run_which_saves_first(tmp_path, number):
    parent = PARENT.format(child=CHILD.format(saving=0.3))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, env=environment) as process:
        wait_for(tmp_path / "begun")
        process.send_signal(number)  # to this process alone, as `kill` does
        assert process.wait(60) == 0


def test_a_second_interrupt_stops_the_run_at_once(tmp_path):
    parent = PARENT.format(child=CHILD.format(saving=50))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, env=environment) as process:
        wait_for(tmp_path / "begun")
        process.send_signal(signal.SIGINT)
        wait_for(tmp_path / "asked")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 3
