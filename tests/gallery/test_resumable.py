"""Shards are complete or absent, and a folder belongs to one set of facts."""

import json

import pytest

from x2vlm.building import ConfigError
from x2vlm.engine.checkpoint.atomic_save import SaveError
from x2vlm.gallery.resumable import (
    assign_missing_shards,
    atomic_folder,
    finished_shards,
    write_or_compare_facts,
)


def test_a_shard_is_complete_or_absent(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "000001") as temporary:
        (temporary / "file").write_text("incomplete")
        raise KeyboardInterrupt
    assert finished_shards(tmp_path) == set()
    assert assign_missing_shards(tmp_path, 2) == [0, 1]
    assert not list(tmp_path.iterdir())  # the incomplete shard is removed
    with atomic_folder(tmp_path / "000001") as temporary:
        (temporary / "file").write_text("complete")
    assert assign_missing_shards(tmp_path, 2) == [0]


def test_a_full_disk_is_an_error_that_says_how_to_resume(tmp_path):
    with (
        pytest.raises(SaveError, match=r"000001 could not be saved: No space left.*resumes"),
        atomic_folder(tmp_path / "000001"),
    ):
        raise OSError(28, "No space left on device")


def test_a_folder_of_another_run_is_refused_with_what_differs(tmp_path):
    facts = {"checkpoint": "a", "records": 5}
    write_or_compare_facts(tmp_path / "gallery.json", facts, "a gallery")
    write_or_compare_facts(tmp_path / "gallery.json", facts, "a gallery")
    with pytest.raises(ConfigError, match=r'a gallery made otherwise: checkpoint was "a", is "b".*Name another folder'):
        write_or_compare_facts(tmp_path / "gallery.json", facts | {"checkpoint": "b"}, "a gallery")
    assert json.loads((tmp_path / "gallery.json").read_text()) == facts
