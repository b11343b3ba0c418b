import pickle
import tarfile

import pytest

from tests.data.datasets.published_layouts import image
from x2vlm.data.datasets.public_captions.img2dataset import Img2Dataset
from x2vlm.data.record import RecordError


@pytest.fixture
def shards(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {
            "key": f"00000{n:04d}",
            "status": status,
            "caption": caption,
            "url": f"http://a.org/{n}.jpg",
            "similarity": at,
        }
        for n, (status, caption, at) in enumerate(
            [
                ("success", "a dog", 0.4),
                ("failed_to_download", None, None),
                ("success", None, 0.4),
                ("success", "low", 0.1),
            ]
        )
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "00000.parquet", row_group_size=2)
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for number in (0, 2):
            tar.add(image(tmp_path / f"{number}.jpg"), arcname=f"00000{number:04d}.jpg")
    return tmp_path


def test_what_was_downloaded_is_read_and_what_is_broken_is_named(shards):
    data = pickle.loads(pickle.dumps(Img2Dataset(shards / "*.parquet")))
    assert len(data) == 3
    record = data.record(0)
    assert (record["caption"], record["id"]) == ("a dog", "http://a.org/0.jpg")
    assert record["image"] == (shards / "0.jpg").read_bytes()
    with pytest.raises(RecordError, match=r"^00000\.parquet:3: caption: expected a text, got None"):
        data.record(1)
    with pytest.raises(RecordError, match=r"^00000\.parquet:4: 00000\.tar has no image of key '000000003'"):
        data.record(2)


def test_rows_can_be_chosen_by_a_column(shards):
    assert len(Img2Dataset(shards / "*.parquet", where_columns=dict(similarity=0.3))) == 2


def test_missing_columns_and_tar_files_are_told(shards):
    with pytest.raises(ValueError, match=r"00000\.parquet has no column 'TEXT'\. It has: key, status, caption"):
        Img2Dataset(shards / "*.parquet", caption="TEXT")
    (shards / "00000.tar").unlink()
    with pytest.raises(ValueError, match=r"shards: .*00000\.tar is missing"):
        Img2Dataset(shards / "*.parquet")


def test_a_missing_package_is_refused_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "a.tar").write_bytes(b"")
    monkeypatch.setattr("x2vlm.data.io.row_readers.parquet_rows.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package 'pyarrow'.*pip install 'x2vlm\[parquet\]'"):
        Img2Dataset(tmp_path / "*.parquet")
