"""What the site adds to mkdocs: links out of docs/, one API page a package, cross-references, no network."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'x2vlm[docs]'")
ROOT = Path(__file__).resolve().parents[2]


def hook(name):
    spec = spec_from_file_location(f"docs_{name}", ROOT / "docs" / "hooks" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class PageOf:
    def __init__(self, uri):
        self.file = self
        self.src_uri = uri


def test_a_link_to_a_file_outside_docs_leads_to_its_page():
    pages = hook("repository_pages")
    text = "[demo](../configs/demo/toy_pretrain.py) and [training](training.md#faster), `[x](../setup.cfg)`"
    changed = pages.on_page_markdown(text, PageOf("index.md"), None, None)
    assert "[demo](source/configs/demo/toy_pretrain.py.md)" in changed
    assert "[training](training.md#faster)" in changed
    assert "`[x](../setup.cfg)`" in changed


def test_a_page_from_outside_docs_links_back_into_the_site():
    pages = hook("repository_pages")
    text = "[guide](docs/plugins.md#how-plugins-are-found)\n[ref]: docs/data.md\n"
    changed = pages.on_page_markdown(text, PageOf("CONTRIBUTING.md"), None, None)
    assert changed == "[guide](plugins.md#how-plugins-are-found)\n[ref]: data.md\n"


def test_a_readme_of_a_plugin_is_a_page_and_a_config_is_shown_as_code():
    pages = hook("repository_pages")
    assert (
        pages.linked(ROOT / "docs" / "plugins.md", "../plugins/real_towers") == ROOT / "plugins/real_towers/README.md"
    )
    text = pages.page_text(ROOT / "configs" / "ablations" / "no_bbox.py")
    assert text.startswith("# configs/ablations/no_bbox.py\n\n````python\n")


def test_every_package_has_a_page_with_all_of_its_modules():
    api = hook("api_pages")
    names = [api.name_of(folder) for folder in api.packages()]
    assert {"x2vlm", "x2vlm.data", "x2vlm.data.transforms", "x2vlm.models.fusion", "x2vlm.engine"} <= set(names)
    assert "::: x2vlm.objectives.itc" in api.package_text(ROOT / "x2vlm" / "objectives")


def test_what_a_browser_would_fetch_from_another_host_is_found_and_links_are_not():
    offline = hook("offline")
    page = '<a href="https://arxiv.org">x</a><img src="images/a.png"><script src="https://cdn.example/x.js"></script>'
    assert offline.remote_assets(page) == ["https://cdn.example/x.js"]
    assert offline.remote_assets('<link rel="stylesheet" href="//fonts.example/a.css">') == ["//fonts.example/a.css"]
    assert offline.remote_assets('<link rel="canonical" href="https://example.org/">') == []
    assert offline.remote_assets("@import url(https://fonts.example/b.css);", is_style=True) == [
        "https://fonts.example/b.css"
    ]


@pytest.fixture
def package(tmp_path):
    griffe = pytest.importorskip("griffe")
    (tmp_path / "x2vlm").mkdir()
    (tmp_path / "x2vlm" / "__init__.py").write_text('__all__ = ["lazy"]\n')
    (tmp_path / "x2vlm" / "a.py").write_text(
        "class A:\n"
        '    """See :meth:`go`, :func:`~x2vlm.b.run`, :func:`x2vlm.lazy`, :func:`torch.sum`, :func:`gone`."""\n'
        '    def go(self):\n        """Go."""\n'
    )
    (tmp_path / "x2vlm" / "b.py").write_text('def run():\n    """Run."""\n')
    extensions = griffe.load_extensions(hook("docstring_roles").DocstringRoles())
    return griffe.load("x2vlm", search_paths=[tmp_path], extensions=extensions, try_relative_path=False)


def test_cross_references_of_docstrings_become_links_and_a_wrong_one_is_a_warning(package, caplog):
    text = package["a.A"].docstring.value
    assert '<autoref identifier="x2vlm.a.A.go" optional>`go`</autoref>' in text
    assert '<autoref identifier="x2vlm.b.run" optional>`run`</autoref>' in text
    assert "`torch.sum`, `gone`" in text
    assert [record.args[2] for record in caplog.get_records("setup")] == ["gone"]
