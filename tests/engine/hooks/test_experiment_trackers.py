"""Weights & Biases and MLflow by one line of a config: scalars at their iterations, the config, nothing else."""

import json
import os
import struct
from pathlib import Path

import pytest

from x2vlm.building import build
from x2vlm.registry import VISBACKENDS

LOCAL = dict(type="LocalVisBackend")


@pytest.fixture
def tracked(config, train, tmp_path, monkeypatch):
    """A run of four iterations with one more backend, in a folder with a Python file that is nobody's business."""

    def run(backend):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "private.py").write_text("SECRET = 'not to be uploaded'\n")
        cfg = config(
            4,
            visualizer=dict(type="Visualizer", vis_backends=[LOCAL, backend]),
            default_hooks=dict(logger=dict(type="LoggerHook", interval=2)),
        )
        return train(cfg)

    return run


def logged_locally(runner):
    """The lines of the local log that training wrote."""
    (file,) = Path(runner.work_dir).glob("*/vis_data/scalars.json")
    return [line for line in map(json.loads, file.read_text().splitlines()) if "iter" in line]


def test_weights_and_biases_get_the_scalars_and_no_source_code(tracked, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    runner = tracked(dict(type="WandbVisBackend", init_kwargs=dict(project="x2vlm")))
    wandb.finish()
    (folder,) = Path(runner.work_dir).glob("*/vis_data/wandb/offline-run-*")
    history = records_of(next(folder.glob("*.wandb")))
    assert [row["_step"] for row in history] == [line["step"] for line in logged_locally(runner)] == [2, 4]
    assert {"loss", "lr"} <= set(history[0])
    assert not [path for path in folder.rglob("*") if "private" in path.name]


def records_of(file):
    """The rows of scalars in a file of an offline run: records in blocks of 32 KiB, as LevelDB logs have them."""
    from wandb.proto import wandb_internal_pb2

    data, rows, buffer, place = file.read_bytes(), [], b"", 7
    while place < len(data):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        buffer += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of its parts
            record, buffer = wandb_internal_pb2.Record.FromString(buffer), b""
            items = record.history.item if record.WhichOneof("record_type") == "history" else []
            rows += [{(item.key or item.nested_key[0]): json.loads(item.value_json) for item in items}] if items else []
    return rows


def test_mlflow_gets_the_scalars_and_the_config_in_a_database_of_the_run(tracked):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    runner = tracked(dict(type="MLflowVisBackend", exp_name="toy"))
    (database,) = Path(runner.work_dir).glob("*/vis_data/mlflow.db")
    assert "MLFLOW_TRACKING_URI" not in os.environ
    client = mlflow.MlflowClient(f"sqlite:///{database}")
    (run,) = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in losses] == [
        (line["step"], pytest.approx(line["loss"])) for line in logged_locally(runner)
    ]
    assert run.data.params["train_cfg.max_iters"] == "4"
    assert run.info.status == "FINISHED"


def test_the_place_of_mlflow_can_be_named_in_the_config_or_the_environment(tmp_path, monkeypatch):
    cfg = dict(type="MLflowVisBackend", save_dir=str(tmp_path))
    assert build(VISBACKENDS, cfg)._tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert build(VISBACKENDS, cfg)._tracking_uri == "http://localhost:5000"
    assert build(VISBACKENDS, cfg | dict(tracking_uri="databricks"))._tracking_uri == "databricks"
