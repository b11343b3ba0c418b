"""The shape of the house: imports run one way, the core knows no plugin, and what the documents say is there."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["data", "models", "objectives", "engine", "gallery", "evaluation", "inference"]
ROOMS += ["export", "transformers_auto", "app"]
GROUND = [
    "registry",
    "boxes",
    "boxes_to_patches",
    "cider",
    "constants",
    "distributed",
    "building",
    "argument_checks",
    "config_to_python",
    "part_registry",
    "part_errors",
    "run_name",
    "weights",
]
INSIDE = {  # rooms within a room, in the order in which they may import
    "data": ["io", "transforms", "datasets", "collate", "toy", "inspection", "shard_writing", "pretraining_set"],
    "engine": ["distributed", "optim", "checkpoint", "hooks", "failures"],
    "evaluation": ["metrics", "tasks"],
}
MOST_FILES = 16  # of a folder, without __init__.py
SOURCES = sorted((ROOT / "x2vlm").rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/**/*.md")])


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache  # most of these tests read every module
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: write the import out from x2vlm on"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str | None:
    """The part of the house that a dotted name belongs to: ``data`` for ``x2vlm.data.batch``."""
    parts = module.split(".")
    return parts[1] if parts[0] == "x2vlm" and len(parts) > 1 and parts[1] != "__version__" else None


def test_every_room_is_there():
    assert {path.parent.name for path in SOURCES} >= set(ROOMS)


def test_imports_run_one_way():
    problems = []
    for path in SOURCES:
        own = path.relative_to(ROOT / "x2vlm").parts[0].removesuffix(".py")
        if own not in ROOMS + GROUND:
            continue  # the entry points stand above the house and may use all of it
        allowed = GROUND + ROOMS[: ROOMS.index(own) + 1] if own in ROOMS else GROUND
        if wrong := sorted(module for module in imported(path) if room(module) and room(module) not in allowed):
            problems.append(f"{name(path)} may import from {', '.join(allowed)}, not {', '.join(wrong)}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("outer", INSIDE)
def test_imports_run_one_way_inside_a_room(outer):
    rooms = INSIDE[outer]
    assert all((ROOT / "x2vlm" / outer / room).is_dir() for room in rooms), "a room that was renamed is checked no more"
    for path in sorted((ROOT / "x2vlm" / outer).rglob("*.py")):
        own = path.relative_to(ROOT / "x2vlm" / outer).parts[0]
        if own not in rooms:
            continue
        inner = {module.split(".")[2] for module in imported(path) if module.startswith(f"x2vlm.{outer}.")}
        later = [other for other in rooms[rooms.index(own) + 1 :] if other in inner]
        assert not later, f"{name(path)} imports from {', '.join(later)}; the order is {' -> '.join(rooms)}"


def test_no_folder_holds_more_than_one_can_survey():
    folders = {path.parent for path in SOURCES}
    sizes = {name(folder): len([file for file in folder.glob("*.py") if file.stem != "__init__"]) for folder in folders}
    sizes.pop("x2vlm/commands")  # one file a command
    assert not {folder: size for folder, size in sizes.items() if size > MOST_FILES}


def test_a_file_name_exists_once():
    names = [path.stem for path in SOURCES if path.stem not in ("__init__", "base")]
    assert not {one for one in names if names.count(one) > 1}


def test_no_modules_import_each_other():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
    edges = {module: (imported(path) & set(modules)) - {module} for module, path in modules.items()}
    edges = {module: used for module, used in edges.items() if not module.endswith("__init__")}
    while leaves := {module for module, used in edges.items() if not used & set(edges)}:
        edges = {module: used for module, used in edges.items() if module not in leaves}
    in_circles = {module: sorted(used & set(edges)) for module, used in edges.items()}
    assert not in_circles, f"these modules import each other, or what does: {in_circles}"


def test_a_class_name_exists_once():
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name(path))
    assert not {one: files for one, files in places.items() if len(files) > 1}


def test_every_folder_says_what_it_holds():
    for folder in {path.parent for path in SOURCES}:
        assert ast.get_docstring(tree(folder / "__init__.py")), f"{name(folder)}/__init__.py"


def test_the_core_imports_no_plugin():
    wrong = [(name(path), module) for path in SOURCES for module in imported(path) if module.split(".")[0] == "plugins"]
    assert not wrong


def test_the_library_logs_and_does_not_print():
    calls = ((path, node) for path in SOURCES for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    named = ((path, node) for path, node in calls if isinstance(node.func, ast.Name))
    assert not [f"{name(path)}:{node.lineno}" for path, node in named if node.func.id == "print"]


def test_importing_the_library_loads_neither_torch_nor_the_runner():
    code = "import sys, x2vlm; print(*({'torch', 'mmengine.runner', 'transformers', 'timm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("folder", sorted(p.parent for p in ROOT.glob("plugins/*/__init__.py")), ids=lambda p: p.name)
def test_a_plugin_comes_with_config_test_and_readme(folder):
    assert list(folder.glob("config*.py"))
    assert list(folder.glob("test_*.py"))
    assert (folder / "README.md").is_file()


def links(path: Path) -> list[str]:
    text = without_code(path.read_text())
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, flags=re.MULTILINE)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([\w-]+)">', path.read_text()))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_lines_of_documents_are_short(path):
    lines = enumerate(path.read_text().splitlines(), start=1)
    renames = "| `x2vlm." if path.name == "CHANGELOG.md" else None  # rows of dotted names, which cannot be broken
    assert not [number for number, line in lines if len(line) >= 120 and not (renames and line.startswith(renames))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_in_documents_resolve(path):
    for link in links(path):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{name(path)}: {link} leads nowhere"
        assert not anchor or anchor in anchors(file), f"{name(path)}: {link} names no heading of {name(file)}"


def test_every_page_is_in_the_navigation_of_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [path.relative_to(ROOT / "docs") for suffix in ("md", "ipynb") for path in ROOT.glob(f"docs/**/*.{suffix}")]
    assert not [str(page) for page in pages if f": {page}\n" not in navigation]


def commands(path: Path) -> list[str]:
    """The lines of a document's shell blocks, continuation lines joined, comments left out."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def test_the_readme_begins_with_two_commands():
    shown = commands(ROOT / "README.md")
    assert shown.index("make demo") < shown.index("make test")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_commands_in_documents_name_what_exists(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for command in commands(path):
        words = command.split()
        if words[0] == "make":
            assert set(words[1:]) <= targets, f"{name(path)}: `{command}` asks for a target the Makefile does not have"
        for word in words:
            if word.startswith(("configs/", "plugins/", "tools/", "docs/", "tests/")) and "<" not in word:
                assert list(ROOT.glob(word)), f"{name(path)}: `{command}` names {word}, which does not exist"


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.name != "CHANGELOG.md"], ids=name)
def test_paths_in_documents_exist(path):
    shown = re.findall(r"`((?:x2vlm|tests|configs|plugins|tools|docs)/[\w./*-]+)`", path.read_text())
    made_up = ("plugins/sigmoid_itc/", "plugins/NAME/")  # the plugin that the guide writes, and any
    assert not [each for each in shown if not each.startswith(made_up) and not list(ROOT.glob(each.rstrip("/")))]


def test_every_difference_that_the_code_marks_has_its_line():
    known = anchors(ROOT / "docs" / "differences.md")
    for path in SOURCES:
        for anchor in re.findall(r"differences\.md#([\w-]+)", path.read_text()):
            assert anchor in known, f"{name(path)} points to docs/differences.md#{anchor}, which does not exist"


def test_every_difference_names_a_test_that_exists():
    page = (ROOT / "docs" / "differences.md").read_text()
    differences = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    assert differences
    for difference in differences:
        title = difference.splitlines()[0]
        named = re.findall(r"^- Held by `([\w/.]+)`:\n((?:  .*\n?)+)", difference, flags=re.MULTILINE)
        assert named, f"docs/differences.md names no test under: {title}"
        for file, tests in named:
            for test in re.findall(r"`(\w+)`", tests):
                assert f"def {test}(" in (ROOT / file).read_text(), f"docs/differences.md: {file} has no {test}"


def test_the_objective_of_the_plugin_guide_trains():
    import torch

    from x2vlm.building import build
    from x2vlm.data.batch import Batch
    from x2vlm.models.outputs import Context, EncodedBatch, TextStates
    from x2vlm.registry import OBJECTIVES

    guide = (ROOT / "docs" / "plugins.md").read_text()
    code = re.search(r"```python\n(\"\"\"Sigmoid contrast.*?)```", guide, flags=re.DOTALL).group(1)
    exec(compile(code, "docs/plugins.md", "exec"), {"__name__": "guide"})
    try:
        objective = build(OBJECTIVES, dict(type="SigmoidITC"))
    finally:
        OBJECTIVES.module_dict.pop("SigmoidITC")
    feat = torch.nn.functional.normalize(torch.eye(3, 4), dim=-1).requires_grad_()
    mask = torch.ones(3, 2, dtype=torch.bool)
    context = Context(torch.zeros(3, 2, 4), torch.arange(3), mask, torch.zeros(3, 4), feat)
    batch = Batch(text_ids=torch.zeros(3, 2, dtype=torch.long), text_mask=mask)
    text = TextStates(torch.zeros(3, 2, 4), mask, feat)
    encoded = EncodedBatch(batch, text, None, context, torch.tensor(0.07))
    loss = objective.losses(encoded, objective.requests(encoded))["loss_itc"]
    loss.backward()
    assert loss.isfinite()
    assert objective.bias.grad != 0


SHRUNK = [
    *("train_cfg.max_iters=2", "train_cfg.val_interval=2", "param_scheduler.warmup=0"),
    *("streams.image.batch_size=4", "streams.region.batch_size=4", "streams.region.max_images=3"),
    *("streams.video.batch_size=2", "evaluations.image_retrieval.dataset.num_scenes=8"),
    *("evaluations.grounding.dataset.num_scenes=8", "evaluations.video_retrieval.dataset.num_scenes=8"),
]


def test_the_readme_names_the_last_checkpoint_of_its_run():
    from x2vlm.config import load_config

    last = load_config(ROOT / "configs" / "demo" / "toy_pretrain.py").train_cfg.max_iters
    assert f"work_dirs/toy/iter_{last}.pth" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_readme_trains_resumes_and_tests(tmp_path):
    shown = [command for command in commands(ROOT / "README.md") if "work_dirs/toy" in command]
    assert [command.split()[1] for command in shown] == ["tools/train.py", "tools/train.py", "tools/test.py"]
    for command in shown:
        words = re.sub(r"iter_\d+", "iter_2", command.replace("work_dirs", str(tmp_path))).split()
        done = subprocess.run(
            [sys.executable, *words[1:], "--cfg-options", *SHRUNK],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
