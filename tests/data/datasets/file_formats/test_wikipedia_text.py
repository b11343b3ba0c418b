import numpy as np
import pytest

from x2vlm.data.datasets.file_formats.wikipedia_text import WikipediaText
from x2vlm.data.io.row_readers.parquet_rows import ParquetRows

TEXT = "A paragraph that is long enough to count."


@pytest.fixture
def articles(tmp_path):
    """Twelve articles in groups of four in a parquet file, and two in extracted text."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"id": str(number), "title": "Paris", "text": TEXT} for number in range(12)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet", row_group_size=4)
    text = [f'<doc id="{number}" url="u" title="Paris">\nParis\n\n{TEXT}\n</doc>' for number in (20, 21)]
    (tmp_path / "wiki_00").write_text("\n".join(text))
    return [tmp_path / "train.parquet", tmp_path / "wiki_00"]


def test_a_stream_reads_parquet_files_a_group_at_a_time(articles, monkeypatch):
    read = []
    read_group = ParquetRows._read_group
    monkeypatch.setattr(ParquetRows, "_read_group", lambda self, group: read.append(group) or read_group(self, group))
    data = WikipediaText(articles, shuffle_buffer=5)
    assert data.run_lengths.tolist() == [4, 4, 4, 1, 1]
    order = np.random.default_rng(0).permutation(12)
    assert {data.record(index)["id"] for index in order} == {str(number) for number in range(12)}
    assert sorted(read) == [0, 1, 2]  # the buffer and two groups besides are kept: nothing is read again
    assert data.record(13)["id"] == "21"


def test_articles_are_drawn_from_anywhere_without_a_buffer(articles):
    data = WikipediaText(articles)
    assert (data.run_lengths, data.shuffle_buffer, len(data)) == (None, None, 14)
    with pytest.raises(ValueError, match="shuffle_buffer is 1; expected a number of records, 2 or more, or None"):
        WikipediaText(articles, shuffle_buffer=1)
