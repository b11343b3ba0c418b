import json
import pickle

import pytest

from tests.data.datasets.published_layouts import image
from x2vlm.data.datasets.file_formats.hf_dataset import HFDataset
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.images.load_crop_flip import LoadImage

pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture
def rows(tmp_path):
    objects = {"bb": [[1.0, 2.0, 30.0, 40.0]], "caption": ["dog"]}
    base = {"image": {"bytes": image(tmp_path / "a.png").read_bytes(), "path": None}, "caption": ["a dog", "dogs"]}
    base |= {"image_id": 7, "objects": objects}
    return [base, {**base, "image_id": 8}, {**base, "image": None, "caption": None, "objects": None}]


def save(folder, rows, split=None):
    """A folder as ``Dataset.save_to_disk`` leaves it (``DatasetDict.save_to_disk`` with a split)."""
    inner = folder if split is None else folder / split
    inner.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    name = str(inner / "data-00000-of-00001.arrow")
    with pyarrow.OSFile(name, "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "x", "_split": split}
    (inner / "state.json").write_text(json.dumps(state))
    if split is not None:
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))


def test_a_saved_folder_is_read_with_images_captions_and_elements(rows, tmp_path):
    save(tmp_path / "saved", rows)
    data = pickle.loads(pickle.dumps(HFDataset(tmp_path / "saved", pipeline=[LoadImage()])))
    record = data[0]
    assert (record["id"], record["caption"], record["frames"][0].shape) == ("7", ["a dog", "dogs"], (48, 64, 3))
    assert record["elems"] == [{"bb": [1.0, 2.0, 30.0, 40.0], "caption": "dog"}]
    with pytest.raises(RecordError, match=r"arrow\[2\]: shows nothing and says nothing"):
        data[2]


def test_parquet_files_are_read_a_group_of_rows_at_a_time(rows, tmp_path):
    from pyarrow import parquet

    for number in range(2):
        parquet.write_table(pyarrow.Table.from_pylist(rows[:2]), tmp_path / f"train-{number}.parquet", row_group_size=1)
    data = HFDataset(tmp_path / "train-*.parquet", keys=dict(extras=("image_id",)))
    assert len(data) == 4
    assert data.record(3)["image"] == rows[0]["image"]["bytes"]
    assert (data.record(3)["extras"], data.record(3)["where"]) == ({"image_id": 8}, "train-1.parquet[1]")


def test_a_path_is_followed_below_image_root_alone(tmp_path):
    save(tmp_path / "saved", [{"image": "a.png", "caption": "x"}, {"image": "../a.png", "caption": "x"}])
    with pytest.raises(RecordError, match=r"names the file 'a\.png'; say where it lies with image_root="):
        HFDataset(tmp_path / "saved").record(0)
    data = HFDataset(tmp_path / "saved", image_root=tmp_path)
    assert data.record(0)["image"] == tmp_path / "a.png"
    with pytest.raises(RecordError, match="lies outside"):
        data.record(1)


def test_a_split_is_named_and_a_wrong_one_told(rows, tmp_path):
    save(tmp_path / "both", rows[:2], "train")
    assert len(HFDataset(tmp_path / "both", split="train")) == 2
    with pytest.raises(ValueError, match=r"split: .*both has the splits train, test; name one, not None"):
        HFDataset(tmp_path / "both")


def test_a_list_of_splits_or_files_that_is_none_is_told(rows, tmp_path):
    save(tmp_path / "both", rows[:2], "train")
    (tmp_path / "both" / "dataset_dict.json").write_text(json.dumps({"splits": True}))
    with pytest.raises(ValueError, match=r"split: .*both has the splits \(none\); name one"):
        HFDataset(tmp_path / "both", split="train")
    (tmp_path / "both" / "train" / "state.json").write_text(json.dumps({"_data_files": 0.5}))
    with pytest.raises(ValueError, match="path names no file"):
        HFDataset(tmp_path / "both" / "train")


def test_text_in_several_languages_is_parallel_text(tmp_path):
    save(tmp_path / "saved", [{"translation": {"en": "dog", "de": "Hund"}}])
    assert HFDataset(tmp_path / "saved").record(0)["parallel"] == {"en": "dog", "de": "Hund"}


def test_what_is_no_such_folder_or_file_is_told(tmp_path):
    (tmp_path / "a.arrow").write_bytes(b"PK\x03\x04 not arrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for name, reason in (("a.arrow", "no arrow file"), ("a.parquet", "no parquet file"), (".", "no state.json")):
        with pytest.raises(ValueError, match=reason):
            HFDataset(tmp_path / name)


def test_a_missing_package_and_a_wrong_key_are_refused_in_a_sentence(tmp_path, monkeypatch):
    save(tmp_path / "saved", [{"caption": "x"}])
    with pytest.raises(ValueError, match=r"keys has no 'captoin'\. Did you mean 'caption'"):
        HFDataset(tmp_path / "saved", keys=dict(captoin="x"))
    monkeypatch.setattr("x2vlm.data.io.row_readers.parquet_rows.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package 'pyarrow'.*pip install 'x2vlm\[parquet\]'"):
        HFDataset(tmp_path / "saved")


@pytest.fixture
def groups(tmp_path):
    """Two parquet files of eight groups of ten rows each."""
    from pyarrow import parquet

    for number in range(2):
        rows = [{"text": f"{row}", "id": row} for row in range(80 * number, 80 * number + 80)]
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{number}.parquet", row_group_size=10)
    return tmp_path / "*.parquet"


def count_groups(monkeypatch):
    from x2vlm.data.io.row_readers.parquet_rows import ParquetRows

    read, original = [], ParquetRows._read_group
    monkeypatch.setattr(
        ParquetRows, "_read_group", lambda self, group: read.append((self.path, group)) or original(self, group)
    )
    return read


def epoch_of(data):
    from tests.engine.tiny_parts import TinyCollate
    from x2vlm.data.streams import Stream

    stream = Stream("rows", data, TinyCollate(), 8)
    stream.start(1)
    return [place for _ in range(20) for place in next(stream).where]


def test_a_stream_with_a_buffer_reads_each_group_of_rows_once_an_epoch(groups, monkeypatch):
    pipeline = [dict(type="PickText"), dict(type="PackSample")]
    read = count_groups(monkeypatch)
    data = HFDataset(groups, keys=dict(caption=None, text="text"), shuffle_buffer=40, pipeline=pipeline)
    places = epoch_of(data)
    assert len(set(places)) == 160 and [place[:9] for place in places] != sorted(place[:9] for place in places)
    assert len(read) == len(set(read)) == 16
    read.clear()
    epoch_of(HFDataset(groups, keys=dict(caption=None, text="text"), pipeline=pipeline))
    assert len(read) > 100  # nearly one for each row


def test_a_subset_of_a_stream_keeps_the_runs_that_are_left_of_it(groups):
    data = HFDataset(groups, shuffle_buffer=40, subset=dict(start=5, stop=27))
    assert data.run_lengths.tolist() == [5, 10, 7]


@pytest.mark.parametrize("buffer", [1, 2.5, True])
def test_a_buffer_that_is_none_is_refused(groups, buffer):
    with pytest.raises(ValueError, match=r"shuffle_buffer is .*; expected a number of records, 2 or more, or None"):
        HFDataset(groups, shuffle_buffer=buffer)


def test_a_damaged_group_of_rows_is_a_bad_record_and_not_the_end(groups):
    path = groups.parent / "0.parquet"
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"^0\.parquet\[3\]: its rows cannot be read"):
        HFDataset(groups).record(3)
    assert HFDataset(groups).record(150)["caption"] == "150"
