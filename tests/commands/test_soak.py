"""The soak test detects any difference, and a killed toy training ends like an undisturbed one."""

import pytest
import torch
from mmengine.config import Config

from tests.engine.tiny_parts import tiny_config
from x2vlm.commands.soak import differences, main


def test_any_bit_that_differs_is_named_with_its_path():
    ours = {"state_dict": {"w": torch.tensor([1.0, 2.0])}, "groups": [{"lr": 0.1}, {"lr": 0.2}], "draws": 3}
    same = {"state_dict": {"w": torch.tensor([1.0, 2.0])}, "groups": [{"lr": 0.1}, {"lr": 0.2}], "draws": 3}
    assert list(differences(ours, same)) == []
    same["state_dict"]["w"][1] += 1e-6
    same["groups"][1]["lr"] = 0.3
    same["more"] = None
    same["draws"] = 3.0
    assert list(differences(ours, same)) == ["state_dict.w", "groups.1.lr", "draws"]
    assert list(differences({"a": torch.zeros(2)}, {"a": torch.zeros(2).double()})) == ["a"]


def test_a_folder_that_was_used_is_not_used_again(tmp_path, capsys):
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "iter_3.pth").touch()
    assert main(["--work-dir", str(tmp_path)]) == 2
    assert "has been used already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_is_killed_in_a_save_and_between_saves_ends_like_an_undisturbed_one(tmp_path, capsys):
    Config(tiny_config(tmp_path / "unused")).dump(tmp_path / "tiny.py")
    assert main(["--kills", "2", "--config", str(tmp_path / "tiny.py"), "--work-dir", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "identical"
