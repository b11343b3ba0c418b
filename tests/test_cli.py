"""The command ``x2vlm`` and the two tools that belong to configs."""

import json
import logging
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from x2vlm import __version__, cli
from x2vlm.commands import components
from x2vlm.commands.check_config import config_files
from x2vlm.commands.components import Component, table

GOOD = "randomness = dict(seed=3)\n"
BAD = "randomness = dict(sed=3)\n"


def python(code, root, **more):
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, **more)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["trian"]])
def test_what_needs_no_command_loads_no_heavy_package(words, root):
    code = (
        f"import sys; from x2vlm.cli import main; main({words}); "
        "print('heavy:', *sorted({'torch', 'mmengine', 'numpy', 'transformers', 'mmcv'} & set(sys.modules)))"
    )
    assert python(code, root).stdout.splitlines()[-1].strip() == "heavy:"


def test_the_help_of_no_command_loads_torch(root):
    code = (
        "import sys\nfrom x2vlm import cli\n"
        "for command in cli.COMMANDS:\n"
        "    try: cli.main([command, '--help'])\n"
        "    except SystemExit as end: print('ended:', command, end.code, 'torch' in sys.modules)"
    )
    out = python(code, root).stdout
    assert out.count("--cfg-options") >= 2  # of train and test, among others
    ends = [line for line in out.splitlines() if line.startswith("ended: ")]
    assert ends == [f"ended: {command} 0 False" for command in cli.COMMANDS]


def test_help_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in cli.COMMANDS)


def test_nothing_at_all_shows_the_help_and_is_an_error(capsys):
    assert cli.main([]) == 2
    assert "usage: x2vlm COMMAND" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"x2vlm {__version__}\n"


def test_a_misspelt_command_is_reported_with_the_nearest(capsys):
    assert cli.main(["check_config"]) == 2
    assert "there is no command 'check_config'. Did you mean 'check-config'?" in capsys.readouterr().err


@pytest.mark.parametrize("module", [module for module, _ in cli.COMMANDS.values()])
def test_every_command_has_its_module(module):
    assert find_spec(module.partition(":")[0]) is not None


def test_the_command_runs_as_a_module(root, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "x2vlm.cli", "--version"], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.stdout == f"x2vlm {__version__}\n"


def test_what_the_user_can_mend_is_a_sentence_and_no_traceback(tmp_path, monkeypatch, capsys):
    (tmp_path / "errand.py").write_text("def main(argv):\n    raise FileNotFoundError('train.jsonl is not there')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "errand", ("errand", "fails"))
    assert cli.main(["errand"]) == 1
    assert capsys.readouterr().err == "train.jsonl is not there\n"


def test_any_other_error_keeps_its_traceback(tmp_path, monkeypatch):
    (tmp_path / "errand_of_bugs.py").write_text("def main(argv):\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "errand", ("errand_of_bugs", "fails"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["errand"])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to be in, with a right and a wrong config, a base and a private one."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"demo/good": GOOD, "demo/bad": BAD, "demo/_part": BAD, "base/runtime": BAD}.items():
        path = tmp_path / "configs" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_right_config_is_one_line(project, capsys):
    assert cli.main(["check-config", "configs/demo/good.py"]) == 0
    assert capsys.readouterr().out == "configs/demo/good.py: ok\n"


def test_a_wrong_config_fails_and_the_right_ones_are_still_checked(project, capsys):
    assert cli.main(["check-config", "configs/demo/bad.py", "configs/demo/good.py"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "configs/demo/bad.py: 1 problem",
        "  randomness: set_random_seed has no argument 'sed'. Did you mean 'seed'? "
        "Accepted: deterministic, diff_rank_seed, seed.",
        "configs/demo/good.py: ok",
    ]


def test_options_are_checked_with_the_config(project, capsys):
    assert cli.main(["check-config", "configs/demo/good.py", "--cfg-options", "randomnes.seed=4"]) == 1
    assert "--cfg-options randomnes.seed: a config has no 'randomnes'. Did you mean 'randomness'?" in (
        capsys.readouterr().out
    )


def test_without_names_every_config_that_can_run_is_checked(project, capsys):
    assert [path.name for path in config_files(project)] == ["bad.py", "good.py"]
    assert cli.main(["check-config"]) == 1
    assert capsys.readouterr().out.count("configs/") == 2


@pytest.mark.parametrize("command", ["check-config", "components"])
def test_a_script_in_tools_is_the_command_of_that_name(command, project, root):
    environment = {**os.environ, "PYTHONPATH": str(root)}
    script = [sys.executable, str(root / "tools" / f"{command.replace('-', '_')}.py"), "--help"]
    done = subprocess.run(script, capture_output=True, text=True, env=environment, cwd=project)
    assert done.stdout.startswith(f"usage: x2vlm {command} ")


def listed(capsys, *words):
    assert cli.main(["components", *words]) == 0
    return capsys.readouterr().out


def test_components_say_name_file_and_first_line(capsys, root, monkeypatch):
    monkeypatch.chdir(root)
    shown = listed(capsys, "objective")
    assert "OBJECTIVE\n" in shown and "x2vlm/objectives/itc.py" in shown
    assert "  ITC " in shown and "Contrastive loss" in shown
    assert "METRIC" not in shown


def test_components_for_programs_are_json(capsys):
    found = json.loads(listed(capsys, "vision encoder", "--json"))
    (beit,) = [part for part in found if part["name"] == "BEiT2"]
    assert (beit["family"], beit["module"], beit["plugin"]) == ("vision encoder", "x2vlm.models.vision.beit2", None)


def test_parts_of_mmengine_are_listed_on_request(capsys):
    assert "EarlyStoppingHook" not in listed(capsys, "hook")
    assert "EarlyStoppingHook" in listed(capsys, "hook", "--all")


def test_a_part_of_a_plugin_is_marked():
    part = Component("vision encoder", "Pocket", "plugins.pocket.parts", "plugins/pocket/parts.py", "pocket", "Small.")
    assert "[plugin pocket: plugins/pocket/parts.py]" in table([part])


def test_a_family_that_cannot_be_imported_is_reported_and_the_others_are_listed(capsys, caplog, monkeypatch):
    def missing(family):
        if family.name == "metric":
            raise components.ConfigError("no module of metrics")

    monkeypatch.setattr(components, "import_locations", missing)
    with caplog.at_level(logging.WARNING, logger="x2vlm"):
        listed(capsys, "metric", "objective")
    assert "no module of metrics" in caplog.text


def test_an_unknown_family_is_reported_with_the_nearest(capsys):
    with pytest.raises(SystemExit):
        cli.main(["components", "objektive"])
    assert "there is no family 'objektive'. Did you mean 'objective'?" in capsys.readouterr().err
