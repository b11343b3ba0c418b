"""docs/public_data.md: every row has a registered adapter, a config line, and a test on a published layout."""

import ast
import re
from pathlib import Path

import pytest

from tests.data.datasets.published_layouts import LAYOUTS, PACKAGES
from x2vlm.building import build
from x2vlm.commands.shared.dataset_sources import parse_adapter_call
from x2vlm.data.data_root import with_data_root
from x2vlm.registry import DATASETS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "public_data.md").read_text()
ROWS = re.findall(r"^\| .+ \| `(\w+)` \| `(\w+)` \|$", PAGE, flags=re.MULTILINE)


def config_lines():
    """The call under each comment of the page's Python, by the comment."""
    found = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE):
        lines = block.splitlines()
        for statement in ast.parse(block).body:
            if not isinstance(statement, ast.Expr) or not isinstance(getattr(statement.value, "func", None), ast.Name):
                continue  # of a config that builds the pre-training list
            name = lines[statement.lineno - 2].removeprefix("# ")
            found[name] = parse_adapter_call("\n".join(lines[statement.lineno - 1 : statement.end_lineno]))
    return found


LINES = config_lines()


def test_every_layout_has_one_row_and_one_config_line():
    names = [name for _, name in ROWS]
    assert sorted(names) == sorted(set(names)) == sorted(LAYOUTS) == sorted(LINES)
    assert all(LINES[name]["type"] == adapter for adapter, name in ROWS)


@pytest.mark.parametrize("name", LINES)
def test_a_config_line_builds_on_the_files_of_its_row_and_is_what_the_test_reads(name, tmp_path):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    layout = LAYOUTS[name](tmp_path)
    assert LINES[name] == layout.config
    assert len(build(DATASETS, with_data_root(LINES[name], str(tmp_path)))) == layout.whole + len(layout.broken)


def test_records_are_three_or_more_and_one_is_broken(tmp_path):
    for name, write in LAYOUTS.items():
        if name in PACKAGES:
            continue  # their counts are compared where they are read
        (tmp_path / name).mkdir()
        layout = write(tmp_path / name)
        assert layout.whole >= 2 and layout.broken, name
