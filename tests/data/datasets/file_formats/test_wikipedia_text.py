import numpy as np
import pytest

from x2vlm.data.datasets.file_formats.wikipedia_text import WikipediaText
from x2vlm.data.io.row_readers.parquet_rows import ParquetRows

TEXT = "A paragraph that is long enough to count."


@pytest.fixture
def articles(tmp_path):
    """Forty articles in groups of four in two parquet files, and two in extracted text."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for number in range(2):
        rows = [{"id": str(20 * number + row), "title": "Paris", "text": TEXT} for row in range(20)]
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{number}.parquet", row_group_size=4)
    text = [f'<doc id="{number}" url="u" title="Paris">\nParis\n\n{TEXT}\n</doc>' for number in (50, 51)]
    (tmp_path / "wiki_00").write_text("\n".join(text))
    return [tmp_path / "0.parquet", tmp_path / "1.parquet", tmp_path / "wiki_00"]


@pytest.fixture
def read(monkeypatch):
    """The groups of rows that are read, in order."""
    found, read_group = [], ParquetRows._read_group
    monkeypatch.setattr(
        ParquetRows,
        "_read_group",
        lambda self, group: found.append((self.path.name, group)) or read_group(self, group),
    )
    return found


def mixed(total, buffer):
    """Numbers in the order of a stream: a buffer of neighbours at a time, mixed."""
    rng = np.random.default_rng(0)
    for start in range(0, total, buffer):
        yield from rng.permutation(np.arange(start, min(start + buffer, total))).tolist()


def test_a_stream_reads_each_group_of_parquet_files_once_and_keeps_few(articles, read):
    data = WikipediaText(articles, shuffle_buffer=5)
    assert data.run_lengths.tolist() == [4] * 10 + [1, 1]
    cache, kept = data.sources[0].rows._cache, []
    for index in mixed(40, buffer=5):
        data.record(index)
        kept.append(sum(len(group) for group in cache._groups.values()))
    assert len(read) == len(set(read)) == 10
    assert max(kept) <= 5 + 2 * 4
    assert data.record(41)["id"] == "51"


def test_without_a_buffer_articles_are_drawn_from_anywhere_and_one_group_is_kept(articles, read):
    data = WikipediaText(articles)
    assert (data.run_lengths, data.shuffle_buffer, len(data)) == (None, None, 42)
    for index in (0, 20, 1):
        data.record(index)
    assert read == [("0.parquet", 0), ("1.parquet", 0), ("0.parquet", 0)]
    with pytest.raises(ValueError, match="shuffle_buffer is 1; expected a number of records, 2 or more, or None"):
        WikipediaText(articles, shuffle_buffer=1)
