"""Logs of a run are read, including those of an interrupted run."""

import json

import pytest

from x2vlm.inference.report.history import evaluation_series, read_evaluations, read_scalars


@pytest.fixture
def log(tmp_path):
    """Writes the log lines of a run that began at that time; a string is written unchanged."""

    def write(run, *lines):
        file = tmp_path / run / "vis_data" / "scalars.json"
        file.parent.mkdir(parents=True)
        file.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
        return tmp_path

    return write


def test_losses_are_series_over_iterations(log):
    folder = log("run", {"image.loss_itc": 4.0, "lr": 0.1, "iter": 10, "step": 10}, {"image.loss_itc": 3.0, "iter": 20})
    assert read_scalars(folder) == {"image.loss_itc": [(10, 4.0), (20, 3.0)], "lr": [(10, 0.1)]}


def test_evaluations_in_between_are_no_losses(log):
    assert read_scalars(log("run", {"image/i2t_r1": 50.0, "step": 10}, {"loss": 1.0, "iter": 10})) == {
        "loss": [(10, 1.0)]
    }


def test_where_a_resumed_run_repeats_steps_the_later_one_is_used(log):
    log("20260101_000000", {"loss": 3.0, "iter": 10}, {"loss": 2.0, "iter": 20})
    folder = log("20260102_000000", {"loss": 2.5, "iter": 20}, {"loss": 1.5, "iter": 30})
    assert read_scalars(folder) == {"loss": [(10, 3.0), (20, 2.5), (30, 1.5)]}


def test_a_line_that_a_killed_run_left_incomplete_is_skipped(log):
    assert read_scalars(log("run", {"loss": 3.0, "iter": 10}, '{"loss": 2.')) == {"loss": [(10, 3.0)]}


def test_a_broken_line_inside_is_named(log):
    with pytest.raises(ValueError, match=r"scalars\.json:1 is not JSON"):
        read_scalars(log("run", "{oops}\n", {"loss": 3.0, "iter": 10}))


def test_metrics_over_the_run_are_those_of_the_evaluations_in_training(tmp_path):
    lines = [
        {"mode": "val", "iter": 10, "metrics": {"image/i2t_r1": 20.0}},
        {"mode": "val", "iter": 20, "metrics": {"image/i2t_r1": 30.0}},
        {"mode": "test", "iter": 20, "metrics": {"image/i2t_r1": 31.0}},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluations = read_evaluations(tmp_path)
    assert evaluations == lines
    assert evaluation_series(evaluations) == {"image/i2t_r1": [(10, 20.0), (20, 30.0)]}


def test_a_folder_without_a_run_has_no_history(tmp_path):
    assert read_scalars(tmp_path) == {}
    assert read_evaluations(tmp_path) == []
