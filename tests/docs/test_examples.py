"""What the documents show is what the library does: their Python, the messages they quote, the notebooks."""

import ast
import contextlib
import io
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_page_begins_with_code(path):
    before, fence, _ = path.read_text().partition("```")
    assert fence
    assert len(before.splitlines()) <= (25 if path.name == "README.md" else 3)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_of_a_document_is_python(path):
    for block in python_blocks(path):
        ast.parse(block)


def test_the_python_of_the_readme_runs_as_it_is_written(tmp_path, monkeypatch):
    import torch
    from PIL import Image

    blocks = [block for block in python_blocks(ROOT / "README.md") if "read_base" not in block]
    for folder in ("configs", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "work_dirs" / "demo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    scope, printed = {}, io.StringIO()
    first_screen, build_and_step, save_and_load, by_name = blocks
    checkpoint = re.search(r"work_dirs/demo/iter_(\d+)\.pth", first_screen)
    exec(compile(build_and_step, "README.md", "exec"), scope)
    assert int(checkpoint[1]) == scope["cfg"].train_cfg.max_iters
    torch.save(scope["model"].state_dict(), checkpoint[0])  # as `make demo` leaves it
    exec(compile(save_and_load, "README.md", "exec"), scope)
    exec(compile(by_name, "README.md", "exec"), scope)
    with contextlib.redirect_stdout(printed):
        exec(compile(first_screen, "README.md", "exec"), scope)
    assert set(scope["losses"]) == {"loss_itc", "loss_itm", "loss_bbox", "loss_giou"}
    assert (tmp_path / "my-model" / "model.safetensors").is_file()
    shown = re.search(r"^```\n('.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE).group(1)
    assert sorted(without_numbers(shown)) == sorted(without_numbers(printed.getvalue()))
    assert Image.open("drawn.png").size == (640, 640)


def without_numbers(text):
    """Lines of output, the same whatever the numbers are."""
    return re.sub(r"-?\d+(\.\d+)?", "#", text).strip().splitlines()


def test_the_lines_for_a_config_of_the_page_on_training_are_taken(tmp_path, monkeypatch):
    from x2vlm.config import load_config

    page = (ROOT / "docs" / "training.md").read_text()
    base = "from mmengine.config import read_base\n\nwith read_base():\n"
    base += "    from x2vlm.configs.demo.toy_pretrain import *\n"
    blocks = [
        re.search(rf"^## {heading}$.*?^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE).group(1)
        for heading in ("Averaged weights, layer-wise learning rates", "Where the log goes")
    ]
    (tmp_path / "mine.py").write_text("\n".join([base, *blocks]))
    cfg = load_config(tmp_path / "mine.py")
    assert cfg.custom_hooks[0].type == "EMAHook"
    assert cfg.optim_wrapper.paramwise_cfg.vision_layer_decay == 0.9
    backends = [backend.type for backend in cfg.visualizer.vis_backends]
    assert backends == ["LocalVisBackend", "TensorboardVisBackend", "WandbVisBackend", "MLflowVisBackend"]


def parts_in(path):
    """Every part of the library that a document writes down, as ``(name, argument names)``."""
    text = path.read_text()
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for code in [*python_blocks(path), *inline]:
        with contextlib.suppress(SyntaxError):
            for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
                given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
                kind = given.pop("type", None) if ast.unparse(call.func) == "dict" else call.func
                name = getattr(kind, "value" if isinstance(kind, ast.Constant) else "id", None)
                if isinstance(name, str):
                    yield name, list(given)


@pytest.fixture(scope="module")
def registered():
    """All parts by name."""
    from mmengine.registry import Registry

    from x2vlm import registry
    from x2vlm.building import names

    families = [family for family in vars(registry).values() if isinstance(family, Registry)]
    for family in families:
        names(family)  # imports the modules of the family
    return {name: part for family in families for name, part in family.module_dict.items()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_parts_in_a_document_exist_and_take_these_arguments(path, registered):
    from x2vlm.argument_checks import argument_problems

    if path.name == "plugins.md":  # registers parts of its own
        return
    blocks = "\n".join(python_blocks(path))
    problems = []
    for name, given in parts_in(path):
        if name in registered:
            found = argument_problems(registered[name], given, extra=("subset", "limits"))
            problems += [problem for problem in found if "has no argument" in problem]
        elif f'type="{name}"' in blocks:
            problems.append(f"{name} is not registered.")
    assert not problems


def sentences(path):
    """The texts of a module, with an ellipsis for every value that is put in."""
    tree = ast.parse(path.read_text())
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = {id(part) for node in formatted for part in node.values}
    for node in formatted:
        yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def test_every_message_of_the_page_on_troubleshooting_is_one_of_the_library():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^### `(.+)`$", page, flags=re.MULTILINE)
    written = "\n".join(text for path in (ROOT / "x2vlm").rglob("*.py") for text in sentences(path))
    assert len(quoted) >= 25
    assert len(quoted) == page.count("\n### ")
    rows = re.findall(r"^\| .* \| `(.+)` \|$", page, flags=re.MULTILINE)
    assert len(rows) == page.count("` |\n") >= 30
    assert not [message for message in (*quoted, *rows) if message not in written]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small(path):
    assert path.stat().st_size < 120_000


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nbclient") is None, reason="nbclient is not installed: pip install 'x2vlm[docs]'")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("first_tour", ("region.loss_bbox", "image_retrieval/itc_i2t_r1")),
        ("ablation", ("no_region_alignment", "grounding/mean_iou")),
    ],
)
def test_a_notebook_runs_from_top_to_bottom(name, shown, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=1800, kernel_name="python3").execute()
    outputs = str([cell.get("outputs") for cell in notebook.cells])
    assert not [text for text in shown if text not in outputs]
