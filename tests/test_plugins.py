"""Plugins in folders and in installed packages."""

import logging
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from mmengine.config import Config

import x2vlm.plugins
from x2vlm.building import ConfigError, import_locations, resolve
from x2vlm.commands.ablate import unique_names
from x2vlm.config import load_config
from x2vlm.engine.defaults import fill_defaults
from x2vlm.part_registry import Family
from x2vlm.plugins import broken_plugins, load_plugins, plugin_folders, plugin_of
from x2vlm.registry import VISION_ENCODERS
from x2vlm.run_name import run_name

numbers = count()

PART = """
from x2vlm.registry import VISION_ENCODERS

@VISION_ENCODERS.register_module()
class {name}:
    '''One tower.'''
    def __init__(self, depth=1):
        self.depth = depth
"""


@pytest.fixture
def world(monkeypatch, tmp_path):
    """An empty project to be in; the path, the registry and what is known of plugins are as before afterwards."""
    import_locations(VISION_ENCODERS)  # what stays registered is imported before the state is kept: it comes only once
    load_plugins()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(x2vlm.plugins, "_loaded", {})
    before, places = dict(VISION_ENCODERS.module_dict), dict(VISION_ENCODERS._in_place)
    yield tmp_path
    VISION_ENCODERS.module_dict.clear()
    VISION_ENCODERS.module_dict.update(before)
    VISION_ENCODERS._in_place.clear()
    VISION_ENCODERS._in_place.update(places)
    VISION_ENCODERS._active.clear()


def plugin(parent, code, name=None, rest=""):
    """Write a plugin with one registered class, called as the plugin; names are never used twice in a process."""
    name = name or f"Towers{next(numbers)}"
    folder = parent / "plugins" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"from plugins.{name}.parts import {name}\n{rest}")
    (folder / "parts.py").write_text(code.format(name=name))
    return name


def config(path, **lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines.values()) + "\n")
    return path


def problems(path, **more):
    with pytest.raises(ConfigError) as caught:
        load_config(path, **more)
    return str(caught.value)


def test_a_folder_in_the_current_directory_is_a_plugin(world):
    name = plugin(world, PART)
    assert name in [found.name for found in load_plugins()]
    assert plugin_of(resolve(VISION_ENCODERS, name)) == name


def test_a_plugin_is_found_beside_a_config_that_lies_elsewhere(world, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    name = plugin(elsewhere, PART)
    load_plugins(elsewhere / "experiments" / "deep" / "config.py")
    assert resolve(VISION_ENCODERS, name)


def test_a_named_folder_is_searched_too(world, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    name = plugin(elsewhere, PART)
    load_plugins(folders=[elsewhere / "plugins"])
    assert resolve(VISION_ENCODERS, name)


def test_plugins_of_several_folders_share_one_package(world, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    here, there = plugin(world, PART), plugin(elsewhere, PART)
    found = {found.name: found.error for found in load_plugins(folders=[elsewhere / "plugins"])}
    assert (found[here], found[there]) == ("", "")


def test_a_plugins_folder_that_is_an_ordinary_package_does_not_hide_the_others(world, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    here, there = plugin(world, PART), plugin(elsewhere, PART)
    (world / "plugins" / "__init__.py").touch()
    code = (
        "from x2vlm.plugins import plugin_folders, put_on_path\n"
        f"put_on_path(plugin_folders(folders=[{str(elsewhere / 'plugins')!r}]))\n"
        f"import plugins.{here}, plugins.{there}"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(x2vlm.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=world, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_the_projects_own_plugins_are_found_from_anywhere(world, root):
    assert root / "plugins" in plugin_folders()


def test_a_folder_without_init_is_no_plugin(world):
    (world / "plugins" / "notes").mkdir(parents=True)
    assert "notes" not in [found.name for found in load_plugins()]


def test_a_broken_plugin_is_named_in_a_warning_and_stops_nobody_else(world, caplog):
    good, bad = plugin(world, PART), plugin(world, PART, rest="1 / 0\n")
    with caplog.at_level(logging.WARNING, logger="x2vlm"):
        load_plugins()
    assert f"plugin '{bad}' ({world / 'plugins' / bad}) could not be loaded: ZeroDivisionError" in caplog.text
    assert good not in caplog.text
    assert resolve(VISION_ENCODERS, good)


def test_a_broken_plugin_offers_nothing_even_what_it_had_registered(world):
    bad = plugin(world, PART, rest="1 / 0\n")
    load_plugins()
    assert bad not in VISION_ENCODERS.module_dict
    assert bad in [found.name for found in broken_plugins()]


def test_a_broken_plugin_is_reported_once(world, caplog):
    plugin(world, PART, rest="1 / 0\n")
    load_plugins()
    caplog.clear()
    load_plugins()
    assert not caplog.records


def test_a_config_that_does_not_use_a_broken_plugin_loads(world):
    plugin(world, PART, rest="1 / 0\n")
    assert load_config(config(world / "x.py", a="randomness = dict(seed=3)")).randomness.seed == 3


def test_a_config_that_names_a_part_of_a_broken_plugin_is_stopped_with_the_reason(world):
    bad = plugin(world, PART, rest="1 / 0\n")
    path = config(world / "x.py", a=f"model = dict(type='X2VLM', vision_encoder=dict(type='{bad}'))")
    message = problems(path)
    assert f"model.vision_encoder: '{bad}' is not a registered vision encoder" in message
    assert f"plugin '{bad}' ({world / 'plugins' / bad}) could not be loaded: ZeroDivisionError" in message


def test_a_config_that_imports_from_a_broken_plugin_is_stopped_with_the_reason(world):
    bad = plugin(world, PART, rest="1 / 0\n")
    path = config(world / "x.py", a=f"from plugins.{bad} import {bad}", b="randomness = dict(seed=3)")
    message = problems(path)
    assert f"x.py, line 1: plugins.{bad} cannot be imported: ZeroDivisionError: division by zero" in message


def test_a_plain_import_in_a_config_registers_what_it_imports(world, monkeypatch):
    (world / "towers_by_import.py").write_text(PART.format(name="TowerByImport"))
    monkeypatch.syspath_prepend(world)
    path = config(world / "x.py", a="import towers_by_import", b="randomness = dict(seed=3)")
    load_config(path)
    assert resolve(VISION_ENCODERS, "TowerByImport")


def test_custom_imports_register_what_they_import(world, monkeypatch):
    (world / "towers_by_custom.py").write_text(PART.format(name="TowerByCustom"))
    monkeypatch.syspath_prepend(world)
    load_config(config(world / "x.py", a="custom_imports = dict(imports=['towers_by_custom'])"))
    assert resolve(VISION_ENCODERS, "TowerByCustom")


def test_custom_imports_that_fail_are_named(world):
    path = config(world / "x.py", a="custom_imports = dict(imports=['no_such_towers'])")
    assert "custom_imports: 'no_such_towers' cannot be imported: ModuleNotFoundError" in problems(path)


def test_custom_imports_may_be_allowed_to_fail(world, caplog):
    path = config(world / "x.py", a="custom_imports = dict(imports=['no_such_towers'], allow_failed_imports=True)")
    load_config(path)
    assert "'no_such_towers' cannot be imported" in caplog.text


def install(folder, name, value):
    """What pip leaves behind of a package that declares an entry point."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[x2vlm.plugins]\n{name} = {value}\n")


def test_an_installed_package_is_found_by_its_entry_point(world, monkeypatch):
    (world / "towers_installed.py").write_text(PART.format(name="TowerInstalled"))
    install(world, "nice_towers", "towers_installed")
    monkeypatch.syspath_prepend(world)
    load_plugins()
    assert plugin_of(resolve(VISION_ENCODERS, "TowerInstalled")) == "nice_towers"


def test_an_installed_package_that_is_broken_is_named(world, monkeypatch, caplog):
    install(world, "bad_towers", "no_such_towers.register")
    monkeypatch.syspath_prepend(world)
    load_plugins()
    assert "plugin 'bad_towers' (entry point no_such_towers.register) could not be loaded" in caplog.text


def test_a_plugins_config_may_be_based_on_another_and_name_its_parts_as_classes(world):
    name = plugin(world, PART)
    config(world / "configs" / "base.py", a="model = dict(type='X2VLM', vision_encoder=dict(type='BEiT2'))")
    path = config(
        world / "plugins" / name / "config.py",
        a="from mmengine.config import read_base",
        b="with read_base():\n    from ...configs.base import *",
        c=f"from plugins.{name}.parts import {name}",
        d=f"model.vision_encoder = dict(type={name}, dept=3)",
    )
    assert f"model.vision_encoder: {name} has no argument 'dept'. Did you mean 'depth'?" in problems(path)


TAKEN = """
from x2vlm.registry import VISION_ENCODERS

@VISION_ENCODERS.register_module({force})
class BEiT2:
    def __init__(self, image_size=224):
        self.image_size = image_size

@VISION_ENCODERS.register_module()
class {{name}}:
    pass
"""


def test_a_plugin_that_takes_a_name_of_the_library_is_warned_and_keeps_its_other_parts(world, caplog):
    own = resolve(VISION_ENCODERS, "BEiT2")
    name = plugin(world, TAKEN.format(force=""))
    with caplog.at_level(logging.WARNING):
        load_plugins()
    assert not broken_plugins()
    assert resolve(VISION_ENCODERS, "BEiT2") is own
    assert resolve(VISION_ENCODERS, name).__name__ == name
    wanted = f"plugins.{name}.parts registers the vision encoder 'BEiT2', which x2vlm.models.vision.beit2 has already"
    assert wanted in caplog.text


def test_a_forced_part_takes_the_place_only_in_configs_that_ask_for_its_plugin(world):
    own = resolve(VISION_ENCODERS, "BEiT2")
    name = plugin(world, TAKEN.format(force="force=True"))
    text = 'default_scope = "x2vlm"'
    outside = config(world / "configs" / "a.py", text=text)
    inside = config(world / "plugins" / name / "config.py", text=text)
    asking = config(world / "configs" / "b.py", text=text, more=f'custom_imports = dict(imports=["plugins.{name}"])')
    for file, wanted in ((outside, own), (inside, None), (outside, own), (asking, None)):
        load_config(file)
        found = resolve(VISION_ENCODERS, "BEiT2")
        assert (found is own) == (wanted is own), file
        assert found.__module__ == (f"plugins.{name}.parts" if wanted is None else own.__module__)


def test_a_part_of_the_library_that_is_imported_after_a_plugin_has_its_name(caplog):
    family = Family("tower", scope="x2vlm")
    late, early = (type("Tower", (), {"__module__": home}) for home in ("x2vlm.towers", "plugins.mine.towers"))
    family.register_module(module=early)
    with caplog.at_level(logging.WARNING):
        family.register_module(module=late)
    assert family.get("Tower") is late
    assert "plugins.mine.towers registers the tower 'Tower', which x2vlm.towers has already" in caplog.text


def test_two_plugins_of_one_name_are_told(world, caplog):
    name = plugin(world, PART)
    folder = world / "elsewhere"
    (folder / "plugins" / name).mkdir(parents=True)
    (folder / "plugins" / name / "__init__.py").write_text("")
    with caplog.at_level(logging.WARNING):
        load_plugins(folders=[folder / "plugins"])
    assert f"two plugins are called '{name}'" in caplog.text
    assert str(folder / "plugins" / name) in caplog.text


def test_two_plugins_with_a_config_each_are_two_runs(tmp_path):
    files = [Path("plugins/a/config.py"), Path("plugins/b/config.py"), Path("configs/demo/toy_pretrain.py")]
    assert [run_name(file) for file in files] == ["a/config", "b/config", "toy_pretrain"]
    assert list(unique_names(files)) == ["a/config", "b/config", "toy_pretrain"]
    runs = [fill_defaults(Config(dict(), filename=str(file))) for file in written(tmp_path, files)]
    assert [Path(run.work_dir) for run in runs[:2]] == [Path("work_dirs/a/config"), Path("work_dirs/b/config")]
    assert not any("/" in run.experiment_name for run in runs)


def written(folder, files):
    """Empty configs of these names."""
    for file in files:
        config(folder / file, text="")
    return [folder / file for file in files]


@pytest.mark.slow
def test_a_core_name_is_the_librarys_even_where_its_module_is_not_imported_yet(tmp_path):
    (tmp_path / "mine.py").write_text(PART.format(name="Swin"))
    (tmp_path / "try.py").write_text(
        "import mine\nfrom x2vlm.building import resolve\nprint(resolve(mine.VISION_ENCODERS, 'Swin').__module__)\n"
    )
    done = subprocess.run([sys.executable, "try.py"], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.stdout.strip() == "x2vlm.models.vision.swin", done.stderr
    assert "registers the vision encoder 'Swin', which x2vlm.models.vision.swin has already" in done.stderr


def test_a_name_that_another_plugin_has_is_told_with_both(world):
    first = plugin(world, PART, rest="")
    (world / "plugins" / "zweite").mkdir()
    (world / "plugins" / "zweite" / "__init__.py").write_text(PART.format(name=first))
    broken = next(found for found in load_plugins() if found.name == "zweite")
    assert broken.error == (
        f"KeyError: plugins.zweite registers the vision encoder '{first}', which plugins.{first}.parts has already. "
        "Choose another name"
    )


def test_a_registration_without_its_parentheses_is_told(world):
    name = plugin(world, PART.replace("register_module()", "register_module"))
    broken = next(found for found in load_plugins() if found.name == name)
    assert broken.error == f"TypeError: write @...register_module() above {name}, with parentheses"
