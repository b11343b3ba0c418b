"""Fixtures every test may use. Nothing is registered and nothing global is changed beyond threads and offline mode."""

import os
import random
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports transformers: no test may download
os.environ.setdefault("OMP_NUM_THREADS", "1")  # also for the processes that tests start
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)
if find_spec("hypothesis"):  # where only the GPU tests run it may be missing
    from hypothesis import HealthCheck, settings

    # A busy machine fails no test: a clock that ran while the process had to wait says nothing about it.
    settings.register_profile("x2vlm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("x2vlm")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, then those with many: each goes to one process, and short ones fill the end."""
    heavy = {item.path for item in items if item.get_closest_marker("slow")}
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in heavy, -sizes[item.path], str(item.path)))


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with development data beside the repository; the test is skipped where there is none."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the development data in {folder}, which is not here")
    return folder


@pytest.fixture
def seed() -> Iterator[int]:
    """Seeds Python's, NumPy's and torch's global generators; the states from before come back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield 0
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
