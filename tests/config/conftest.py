from pathlib import Path

import pytest

from tests.config.small_config import BASE, CHILD, PARTS


@pytest.fixture(autouse=True, scope="module")
def small_parts():
    for family, parts in PARTS.items():
        for part in parts:
            family.register_module(module=part)
    yield
    for family, parts in PARTS.items():
        for part in parts:
            family.module_dict.pop(part.__name__)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes ``base.py`` and a child of it, and gives the child's name, as one would type it."""
    monkeypatch.chdir(tmp_path)

    def write(child="", base=BASE):
        Path("base.py").write_text(base)
        Path("child.py").write_text(CHILD + child)
        return "child.py"

    return write
