"""Every published number of the table is what its config resolves to."""

import shutil
from pathlib import Path

import pytest

from x2vlm.building import ConfigError
from x2vlm.commands.check_config import main
from x2vlm.config import load_config
from x2vlm.config.published_numbers import NUMBERS, Number, compare, read_numbers, value_at

ROOT = Path(__file__).resolve().parents[1]
TABLE = read_numbers(ROOT / NUMBERS)


@pytest.mark.parametrize("config", sorted({number.config for number in TABLE}))
def test_a_config_resolves_to_its_published_numbers(config):
    rows = compare([number for number in TABLE if number.config == config], lambda path: load_config(ROOT / path))
    assert not [(key, value, number.published) for number, key, value, same in rows if not same]


def test_a_number_that_differs_is_told_and_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    table = tmp_path / "numbers.tsv"
    table.write_text("rate\tconfigs/finetune/xfm_base_vqa.py\toptim_wrapper.optimizer.lr\t0.5\n")
    assert main(["--published", str(table)]) == 1
    told = capsys.readouterr().out
    assert "| rate | configs/finetune/xfm_base_vqa.py | `optim_wrapper.optimizer.lr` | 2e-05 | **0.5** |" in told
    assert "1 values, 1 of them not as published" in told


def test_values_are_printed_by_key_and_by_the_type_of_a_step(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    keys = ["train_cfg.max_epochs", "streams.image.dataset.pipeline[PickCaption].max_words"]
    assert main(["configs/finetune/x2vlm_base_nlvr2.py", "--print", *keys]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "configs/finetune/x2vlm_base_nlvr2.py\ttrain_cfg.max_epochs\t10",
        "configs/finetune/x2vlm_base_nlvr2.py\tstreams.image.dataset.pipeline[PickCaption].max_words\t30",
    ]


def test_a_key_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"pipeline\[Flap\].*there is no 'Flap'"):
        value_at(dict(pipeline=[dict(type="Flip")]), "pipeline[Flap].prob")
    number = Number("a", "b", ("c",), 1)
    assert compare([number], lambda _: {})[0][2:] == ("(c: there is no 'c')", False)


def test_a_broken_line_of_the_table_is_named(tmp_path):
    shutil.copy(ROOT / NUMBERS, tmp_path / "a.tsv")
    with (tmp_path / "a.tsv").open("a") as file:
        file.write("no tabs here\n")
    with pytest.raises(
        ConfigError, match=rf"a\.tsv:{len((tmp_path / 'a.tsv').read_text().splitlines())}: expected item"
    ):
        read_numbers(tmp_path / "a.tsv")
