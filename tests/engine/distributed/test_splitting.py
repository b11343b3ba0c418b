"""Two and four processes have the losses and gradients of one that has the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.engine.distributed.splitting import model_of, step, whole_batch

ROOT = Path(__file__).resolve().parents[3]


def norm(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.get_total_norm(list(tensors.values()))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_losses_and_gradients_do_not_depend_on_the_number_of_processes(processes, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [str(ROOT / "tests" / "engine" / "distributed" / "split_run.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    model = model_of(processes)
    losses = step(model, whole_batch())
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(losses) == {"loss_itc", "loss_itm", "loss_mlm", "loss_bbox", "loss_giou"}
    for kind in ("ddp", "sharded"):
        saved = torch.load(tmp_path / f"{kind}.pth")
        torch.testing.assert_close(saved["losses"], losses, rtol=1e-6, atol=1e-6)
        assert saved["gradients"].keys() == gradients.keys()
        difference = {name: saved["gradients"][name] - value for name, value in gradients.items()}
        assert norm(difference) < 1e-6 * norm(gradients)
        for name, value in gradients.items():  # some sum up to nothing but rounding
            assert difference[name].norm() < 1e-5 * value.norm() + 1e-6, name
