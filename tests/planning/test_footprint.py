import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planning import shaped
from x2vlm.planning.activations import activations
from x2vlm.planning.footprint import memory, passes_by_turn, read_seconds, reading, shares, wire
from x2vlm.planning.model_shapes import Load, parameters

ROOT = Path(__file__).resolve().parents[2]
LOADS = {
    "image": Load(6, 6, 1, 10, 3, ("itc", "itm", "mlm")),
    "region": Load(8, 4, 1, 10, 3, ("itc", "itm", "mlm", "bbox")),
}


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """What two processes handed to the collectives in a step; see ``wire_run.py``."""
    file = tmp_path_factory.mktemp("wire") / "counted.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [str(ROOT / "tests" / "engine" / "wire_run.py"), str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(file.read_text())


@pytest.mark.slow
def test_ddp_sends_what_the_formula_says(counted):
    load = Load(6, 4, 1, 10, 3, shaped.ALL)
    counted_by_formula = wire(shaped.shape(), {"region": load}, processes=2)
    assert counted_by_formula.gradients == counted["gradients"]
    assert counted_by_formula.features == counted["features"]
    assert counted_by_formula.feature_gradients == counted["feature_gradients"]


@pytest.mark.slow
def test_fsdp_gathers_and_shares_out_what_the_formula_says(counted):
    load = Load(6, 4, 1, 10, 3, ("itc",))
    shape = shaped.shape(fusion=False, objectives=("itc",))
    by_formula = wire(shape, {"image": load}, processes=2, sharded=True)
    # Tensors of an odd number of rows are filled up.
    assert by_formula.gathered == pytest.approx(counted["gathered"], rel=0.01)
    assert by_formula.scattered == pytest.approx(counted["scattered"], rel=0.01)


def test_a_ring_sends_each_number_almost_twice():
    load = Load(6, 6, 1, 10, 3, ("itm",))  # nothing but gradients
    shape = shaped.shape()
    count = sum(parameters(shape).values())
    assert wire(shape, {"image": load}, 4).sent(4) == {"gradients": 6 * count, "total": 6 * count}
    assert wire(shape, {"image": load}, 1).sent(1)["total"] == 0


def test_activations_are_those_of_the_streams_that_go_together():
    shape = shaped.shape(num_frames=3)
    loads = LOADS | {"video": Load(4, 4, 3, 11, 4, ("itc", "itm", "mlm"))}
    of = {name: activations(shape, load).bytes() for name, load in loads.items()}
    by_stream = memory(shape, loads, passes=[["video"], ["image"], ["region"]])
    assert memory(shape, loads)["activations"] == max(of["image"] + of["region"], of["video"])
    assert by_stream["activations"] == max(of.values())


def test_passes_follow_from_the_config():
    names = ["image", "video", "region"]
    assert passes_by_turn(names, {}) == [(1.0, [["video"], ["image", "region"]])]
    assert passes_by_turn(names, {"passes": "by_stream"}) == [(1.0, [["image"], ["video"], ["region"]])]
    turns = {"a": {"share": 0.25, "streams": ("image",)}, "b": {"share": 0.75}}
    train = {"plan": {"turns": turns, "updates": (("region",), ("image", "video"))}}
    assert passes_by_turn(names, train) == [(0.25, [["image"]]), (0.75, [["region"], ["video"], ["image"]])]


def test_weights_are_gathered_for_every_pass():
    shape = shaped.shape()
    once, twice = (wire(shape, LOADS, 2, sharded=True, passes=passes) for passes in (None, 2))
    assert (twice.gathered, twice.scattered) == (2 * once.gathered, 2 * once.scattered)
    assert twice.features == once.features


def test_memory_shrinks_with_shards():
    shape = shaped.shape()
    count = sum(parameters(shape).values())
    one, eight = memory(shape, LOADS), memory(shape, LOADS, 8)
    sharded = memory(shape, LOADS, 8, sharded=True)
    assert (one["weights"], one["optimizer"], one["buckets"]) == (4 * count, 8 * count, 0)
    assert eight["buckets"] == 4 * count
    assert sharded["optimizer"] == count
    assert sharded["total"] == sum(number for name, number in sharded.items() if name != "total")
    assert sharded["activations"] == eight["activations"]


def test_recomputing_and_half_precision_need_less():
    shape = shaped.shape()
    full = memory(shape, LOADS)["activations"]
    assert memory(shape, LOADS, precision="bf16")["activations"] < 0.7 * full
    assert memory(shape, LOADS, checkpointing=True)["activations"] < 0.7 * full


def test_streams_that_take_turns_count_with_their_share():
    turns = {"clean": {"share": 0.25, "streams": ("b", "c")}, "noisy": {"share": 0.75, "streams": ("a", "c")}}
    assert shares(["a", "b", "c"], turns) == {"a": 0.75, "b": 0.25, "c": 1.0}
    assert shares(["a"], None) == {"a": 1.0}
    half = Load(6, 6, 1, 10, 3, ("itc",), share=0.5)
    both = wire(shaped.shape(), {"a": half, "b": half}, 2)
    assert both.features == wire(shaped.shape(), {"a": Load(6, 6, 1, 10, 3, ("itc",))}, 2).features


def test_reading_is_counted_in_records_and_shards():
    load = Load(128, 50, 1, 40, 12, ("itc",))
    read = reading(load, 5_000_000, 100_000, 8, step_seconds=0.5, record_bytes=50_000, shard_bytes=5e8)
    assert (read.records, read.rate, read.megabytes) == (400, 800, 40)
    assert (read.shards, read.passes) == (500, 8.0)
    assert read_seconds(800, processes=8, workers=4) == 0.04
    unknown = reading(load, None, 1, 1, 1.0, 1, 1)
    assert (unknown.shards, unknown.passes) == (None, None)
