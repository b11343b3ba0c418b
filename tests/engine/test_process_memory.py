"""Peak memory of a process."""

import torch

from x2vlm.engine.process_memory import peak_memory


def test_the_peak_grows_and_covers_a_large_tensor():
    before = peak_memory()
    kept = torch.ones(40_000_000)
    assert peak_memory() >= before
    assert peak_memory() >= kept.numel() * 4
