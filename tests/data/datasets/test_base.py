import pickle

import pytest

from x2vlm.building import ConfigError
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.paths import existing_file, existing_files, existing_folder, inside, read_bytes
from x2vlm.data.record import RecordError


class Numbers(Adapter):
    """Records 0, 1, 2; number 1 is bad."""

    def __len__(self):
        return 3

    def record(self, index):
        if index == 1:
            raise RecordError("numbers:2", "it is one")
        return {"where": f"numbers:{index + 1}", "value": index}


def fail(error):
    def step(record):
        raise error

    return step


def test_a_record_goes_through_the_transforms_in_order():
    steps = [lambda r: r | {"value": r["value"] + 1}, lambda r: r | {"value": r["value"] * 10}]
    assert Numbers(pipeline=steps)[2]["value"] == 30


def test_without_transforms_the_record_comes_out():
    assert Numbers()[0] == {"where": "numbers:1", "value": 0}


def test_a_bad_record_is_named_and_the_others_come_out():
    with pytest.raises(RecordError, match=r"^numbers:2: it is one$"):
        Numbers()[1]


def test_an_error_of_a_transform_names_the_record_and_keeps_what_the_transform_said():
    with pytest.raises(RecordError, match=r"^numbers:1: clip\.mp4: has no frames$") as caught:
        Numbers(pipeline=[fail(RecordError("clip.mp4", "has no frames"))])[0]
    assert caught.value.where == "numbers:1"


def test_a_file_that_a_foreign_transform_cannot_read_is_a_bad_record():
    with pytest.raises(RecordError, match=r"numbers:1: .*gone\.jpg"):
        Numbers(pipeline=[fail(FileNotFoundError("gone.jpg"))])[0]


def test_a_programming_error_in_a_transform_is_not_taken_for_a_bad_record():
    with pytest.raises(ZeroDivisionError):
        Numbers(pipeline=[fail(ZeroDivisionError())])[0]


def test_a_transform_that_drops_a_record_is_named():
    with pytest.raises(RecordError, match="numbers:1: function dropped it"):
        Numbers(pipeline=[lambda record: None])[0]


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_told(index):
    with pytest.raises(IndexError, match=f"Numbers has no record {index}: it has 3"):
        Numbers()[index]


def test_an_unknown_transform_is_named_with_its_place_and_the_closest_name():
    with pytest.raises(ConfigError, match=r"pipeline\[0\].*'LoadImage'"):
        Numbers(pipeline=[dict(type="LoadImages")])


def test_a_record_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(RecordError("a:1", "broken")))
    assert (error.where, error.reason, str(error)) == ("a:1", "broken", "a:1: broken")


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", "", "a\0b", None, 7])
def test_a_name_that_leads_out_of_the_folder_or_is_none_is_refused(tmp_path, name):
    with pytest.raises(RecordError, match=r"^train:3: "):
        inside(tmp_path / "images", name, "train:3")


def test_a_folder_whose_name_only_begins_alike_is_outside(tmp_path):
    with pytest.raises(RecordError, match="outside"):
        inside(tmp_path / "images", "../images_private/a.jpg", "train:3")


@pytest.mark.parametrize("name", ["a.jpg", "b/../a.jpg", "./a.jpg"])
def test_a_name_that_stays_inside_is_resolved(tmp_path, name):
    assert inside(tmp_path, name, "w") == tmp_path / "a.jpg"


def test_an_absolute_name_below_the_folder_is_allowed(tmp_path):
    assert inside(tmp_path, str(tmp_path / "a.jpg"), "w") == tmp_path / "a.jpg"


def test_a_missing_file_is_told_with_the_option_and_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"ann_file: gone\.jsonl does not exist \(looked from {tmp_path}\)"):
        existing_file("gone.jsonl", "ann_file")


def test_a_folder_in_place_of_a_file_is_told_and_the_other_way_round(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="is a folder, but a file is needed"):
        existing_file(tmp_path, "ann_file")
    with pytest.raises(FileNotFoundError, match="is a file, but a folder is needed"):
        existing_folder(tmp_path / "file", "image_root")


def test_a_pattern_gives_sorted_files_and_one_that_fits_nothing_is_told(tmp_path):
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


def names(row):
    return "abcdef"[row]


def test_a_subset_is_a_range_less_the_excluded_identities(tmp_path):
    (tmp_path / "ids.txt").write_text("b\n\n d \n")
    subset = Subset.of(dict(start=1, stop=5, exclude_ids=tmp_path / "ids.txt"))
    assert subset.rows(6, names).tolist() == [2, 4]


def test_without_options_all_records_are_used_and_no_identity_is_asked_for():
    assert Subset.of(None).rows(3, id_of=None).tolist() == [0, 1, 2]


def test_identities_may_be_given_in_the_config():
    assert Subset.of(dict(exclude_ids=["a", "c"])).rows(3, names).tolist() == [1]


def test_a_record_whose_identity_cannot_be_read_stays_to_be_reported_later():
    def id_of(row):
        raise RecordError("a:1", "broken")

    assert Subset(exclude_ids=["a"]).rows(2, id_of).tolist() == [0, 1]


@pytest.mark.parametrize("options", [dict(start=3, stop=3), dict(start=-1), dict(stop=0)])
def test_an_empty_range_is_refused(options):
    with pytest.raises(ValueError, match="expected 0 <= start < stop"):
        Subset.of(options)


def test_a_subset_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"no record is left: the data has 2"):
        Subset(start=2).rows(2, names)


def test_a_misspelt_subset_option_is_told_with_the_closest_name():
    with pytest.raises(ValueError, match=r"no option 'stopp'\. Did you mean 'stop'\?"):
        Subset.of(dict(stopp=3))


def test_a_missing_list_of_identities_is_told():
    with pytest.raises(FileNotFoundError, match=r"subset\.exclude_ids: .*gone\.txt"):
        Subset(exclude_ids="gone.txt").rows(2, names)
