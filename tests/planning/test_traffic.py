"""The formulas for network traffic against what two processes send."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planning import shaped
from x2vlm.planning.model_shapes import BatchShape, parameters
from x2vlm.planning.traffic import step_traffic

ROOT = Path(__file__).resolve().parents[2]
BATCHES = {
    "image": BatchShape(6, 6, 1, 10, 3, ("itc", "itm", "mlm")),
    "region": BatchShape(8, 4, 1, 10, 3, ("itc", "itm", "mlm", "bbox")),
}


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """What two processes handed to the collectives in a step; see ``traffic_run.py``."""
    file = tmp_path_factory.mktemp("traffic") / "counted.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [str(ROOT / "tests" / "planning" / "traffic_run.py"), str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(file.read_text())


@pytest.mark.slow
def test_ddp_sends_what_the_formula_says(counted):
    batch = BatchShape(6, 4, 1, 10, 3, shaped.ALL)
    counted_by_formula = step_traffic(shaped.shape(), {"region": batch}, processes=2)
    assert counted_by_formula.gradients == counted["gradients"]
    assert counted_by_formula.features == counted["features"]
    assert counted_by_formula.feature_gradients == counted["feature_gradients"]


@pytest.mark.slow
def test_fsdp_gathers_and_shares_out_what_the_formula_says(counted):
    batch = BatchShape(6, 4, 1, 10, 3, ("itc",))
    shape = shaped.shape(fusion=False, objectives=("itc",))
    by_formula = step_traffic(shape, {"image": batch}, processes=2, sharded=True)
    # Tensors of an odd number of rows are filled up.
    assert by_formula.gathered == pytest.approx(counted["gathered"], rel=0.01)
    assert by_formula.scattered == pytest.approx(counted["scattered"], rel=0.01)


def test_a_ring_sends_each_number_almost_twice():
    batch = BatchShape(6, 6, 1, 10, 3, ("itm",))  # nothing but gradients
    shape = shaped.shape()
    count = sum(parameters(shape).values())
    assert step_traffic(shape, {"image": batch}, 4).sent(4) == {"gradients": 6 * count, "total": 6 * count}
    assert step_traffic(shape, {"image": batch}, 1).sent(1)["total"] == 0


def test_weights_are_gathered_for_every_pass():
    shape = shaped.shape()
    once, twice = (step_traffic(shape, BATCHES, 2, sharded=True, passes=passes) for passes in (None, 2))
    assert (twice.gathered, twice.scattered) == (2 * once.gathered, 2 * once.scattered)
    assert twice.features == once.features


def test_streams_that_take_part_in_half_of_the_steps_send_half():
    half = BatchShape(6, 6, 1, 10, 3, ("itc",), share=0.5)
    both = step_traffic(shaped.shape(), {"a": half, "b": half}, 2)
    assert both.features == step_traffic(shaped.shape(), {"a": BatchShape(6, 6, 1, 10, 3, ("itc",))}, 2).features
