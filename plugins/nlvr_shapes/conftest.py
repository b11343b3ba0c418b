from pathlib import Path

import pytest


@pytest.fixture
def corpus() -> Path:
    """The folder with NLVR v1; the test is skipped where it is not beside the repository."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "nlvr_v1"
    if not folder.is_dir():
        pytest.skip(f"needs the corpus in {folder}, which is not here")
    return folder
