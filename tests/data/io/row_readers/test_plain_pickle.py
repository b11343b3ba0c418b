import os
import pickle

import pytest

from x2vlm.data.io.row_readers.plain_pickle import read_plain_pickle


class Runs:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_read_from_every_protocol(tmp_path, protocol):
    value = [{"ref_id": 7, "split": "testA", "box": [1.5, 2.0], "sent": "läuft", "none": None, "pair": (1, 2)}]
    (tmp_path / "refs.p").write_bytes(pickle.dumps(value, protocol))
    assert read_plain_pickle(tmp_path / "refs.p", "refs_file") == value


def test_texts_of_python_2_are_read(tmp_path):
    (tmp_path / "refs.p").write_bytes(b"(lp0\n(dp1\nS'sent'\np2\nS'left dog'\np3\nsa.")
    assert read_plain_pickle(tmp_path / "refs.p", "refs_file") == [{"sent": "left dog"}]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_run(tmp_path, protocol):
    (tmp_path / "refs.p").write_bytes(pickle.dumps([Runs(tmp_path / "made")], protocol))
    with pytest.raises(ValueError, match=r"refs_file: .*refs\.p is no pickle of plain values: it asks for .*mkdir"):
        read_plain_pickle(tmp_path / "refs.p", "refs_file")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04]", b"cos\nsystem\n(S'x'\ntR.", b"\x80\x02\x82\x01."])
def test_what_is_no_such_pickle_is_told(tmp_path, data):
    (tmp_path / "refs.p").write_bytes(data)
    with pytest.raises(ValueError, match="no pickle of plain values"):
        read_plain_pickle(tmp_path / "refs.p", "refs_file")
