"""Damaged checkpoints are detected, renamed, and the one before is taken."""

import pytest

from tests.engine.checkpoint.checkpoints import flipped, log_of, names, saving, written
from x2vlm.building import ConfigError
from x2vlm.engine import build_runner
from x2vlm.weights.integrity import damage, hash_of, rename_damaged
from x2vlm.weights.read_weights import read_checkpoint


def test_any_change_is_found_out(tmp_path):
    path = written(tmp_path / "iter_1.pth", bytes(1000))
    assert damage(path) is None
    flipped(path)
    assert "not what was written" in damage(path)


def test_without_a_hash_only_what_cannot_be_read_is_damaged(config, train, tmp_path):
    train(config(2))
    path = tmp_path / "work" / "iter_2.pth"
    hash_of(path).unlink()
    assert damage(path) is None
    flipped(path)
    assert "is damaged" in damage(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "cut off" in damage(path)
    path.write_bytes(b"")
    assert damage(path) == "it is empty"


def test_a_damaged_checkpoint_that_is_renamed_keeps_its_hash(tmp_path):
    aside = rename_damaged(written(tmp_path / "iter_1.pth", b"content"))
    assert names(tmp_path) == ["iter_1.pth.damaged", "iter_1.pth.damaged.sha256"]
    assert damage(aside) is None


@pytest.mark.parametrize("harm", [flipped, lambda path: path.write_bytes(path.read_bytes()[:500])])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before_loudly(config, train, tmp_path, harm):
    train(saving(config(4), interval=2))
    harm(tmp_path / "work" / "iter_4.pth")
    runner = train(saving(config(5, resume=True), interval=2))
    assert runner.loaded_from.endswith("iter_2.pth")
    assert runner.iter == 5
    assert "iter_4.pth is damaged (" in log_of(runner)
    assert "now iter_4.pth.damaged. Going on from iter_2.pth, the one before it." in log_of(runner)
    assert "iter_4.pth.damaged" in names(tmp_path / "work")


def test_where_all_checkpoints_are_damaged_nothing_is_begun_or_renamed(config, train, tmp_path):
    train(saving(config(4), interval=2))
    before = names(tmp_path / "work")
    for path in (tmp_path / "work").glob("iter_*.pth"):
        flipped(path)
    with pytest.raises(ConfigError, match=r"all checkpoints .* are damaged:(.|\n)*iter_4\.pth(.|\n)*iter_2\.pth"):
        build_runner(config(6, resume=True))
    assert names(tmp_path / "work") == before


def test_a_damaged_checkpoint_that_was_named_is_refused(config, train, tmp_path):
    train(config(4))
    flipped(tmp_path / "work" / "iter_4.pth")
    with pytest.raises(ConfigError, match=r"--resume: .*iter_4\.pth is damaged"):
        build_runner(config(6, resume=str(tmp_path / "work" / "iter_4.pth")))


def test_a_damaged_checkpoint_is_used_for_nothing(config, train, tmp_path):
    train(config(2))
    path = tmp_path / "work" / "iter_2.pth"
    flipped(path)
    with pytest.raises(ConfigError, match=r"iter_2\.pth is damaged: .*iter_2\.pth\.sha256 does not fit"):
        read_checkpoint(path)
    with pytest.raises(ConfigError, match=r"iter_2\.pth is damaged"):
        build_runner(config(2, load_from=str(path), work_dir=str(tmp_path / "other"))).train()
    flipped(path)
    assert read_checkpoint(path)["meta"]["iter"] == 2
    hash_of(path).unlink()
    assert read_checkpoint(path)["meta"]["iter"] == 2
