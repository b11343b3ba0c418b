import bz2
import gzip
import lzma

import pytest

from x2vlm.building import ConfigError
from x2vlm.data.io.line_index import LineIndex
from x2vlm.data.io.paths import (
    check_output_folder,
    existing_file,
    existing_files,
    existing_folder,
    path_inside,
    read_bytes,
)
from x2vlm.data.record import RecordError


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", "", "a\0b", None, 7])
def test_a_name_that_leads_out_of_the_folder_or_is_none_is_refused(tmp_path, name):
    with pytest.raises(RecordError, match=r"^train:3: "):
        path_inside(tmp_path / "images", name, "train:3")


def test_a_folder_whose_name_only_begins_alike_is_outside(tmp_path):
    with pytest.raises(RecordError, match="outside"):
        path_inside(tmp_path / "images", "../images_private/a.jpg", "train:3")


@pytest.mark.parametrize("name", ["a.jpg", "b/../a.jpg", "./a.jpg"])
def test_a_name_that_stays_inside_is_resolved(tmp_path, name):
    assert path_inside(tmp_path, name, "w") == tmp_path / "a.jpg"


def test_an_absolute_name_below_the_folder_is_allowed(tmp_path):
    assert path_inside(tmp_path, str(tmp_path / "a.jpg"), "w") == tmp_path / "a.jpg"


def test_a_missing_file_is_reported_with_the_option_and_the_folder_it_is_relative_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"ann_file: gone\.jsonl does not exist \(looked from {tmp_path}\)"):
        existing_file("gone.jsonl", "ann_file")


def test_a_folder_in_place_of_a_file_is_reported_and_the_other_way_round(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="is a folder, but a file is needed"):
        existing_file(tmp_path, "ann_file")
    with pytest.raises(FileNotFoundError, match="is a file, but a folder is needed"):
        existing_folder(tmp_path / "file", "image_root")


def test_a_pattern_gives_sorted_files_and_one_that_fits_nothing_is_reported(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in existing_files(tmp_path / "*.jsonl", "ann_file")] == ["a.jsonl", "b.jsonl"]
    with pytest.raises(FileNotFoundError, match=r"no file fits the pattern .*\*\.csv"):
        existing_files([tmp_path / "a.jsonl", tmp_path / "*.csv"], "ann_file")


def test_a_file_whose_name_has_pattern_signs_is_found(tmp_path):
    (tmp_path / "a[1].txt").touch()
    assert existing_files(str(tmp_path / "a[1].txt"), "files") == [tmp_path / "a[1].txt"]


def test_no_file_at_all_is_an_error():
    with pytest.raises(ValueError, match="ann_file names no file"):
        existing_files([], "ann_file")


def test_a_file_over_the_limit_is_not_read(tmp_path):
    (tmp_path / "big").write_bytes(b"123456")
    assert read_bytes(tmp_path / "big", "w", max_bytes=6) == b"123456"
    with pytest.raises(RecordError, match="larger than the limit of 5 bytes"):
        read_bytes(tmp_path / "big", "w", max_bytes=5)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_is_refused_with_how_to_unpack_it(tmp_path, pack):
    (tmp_path / "a.tsv").write_bytes(pack(b"a\tb\n"))
    with pytest.raises(ValueError, match=r"a\.tsv is compressed with .*: unpack it first \(\w+ a\.tsv\)"):
        LineIndex([tmp_path / "a.tsv"])


@pytest.mark.parametrize("check", [existing_file, existing_folder, existing_files])
def test_a_name_that_no_file_can_have_is_reported_as_missing(tmp_path, check):
    with pytest.raises(FileNotFoundError, match=r"ann_file: .*x does not exist"):
        check(tmp_path / ("x" * 300), "ann_file")


@pytest.mark.parametrize("below", ["", "more", "more/and/more"])
def test_a_file_in_the_place_of_an_output_folder_is_told_before_the_work(tmp_path, below):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"^--out: .* cannot be a folder, as .*file is a file\. Name another"):
        check_output_folder(tmp_path / "file" / below, "--out")
    check_output_folder(tmp_path / "new" / below, "--out")
    assert not (tmp_path / "new").exists()
