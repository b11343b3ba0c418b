"""Document frequencies of the captions of a stream."""

import pytest
from mmengine.config import Config

from x2vlm.cider import DocumentFrequencies, caption_tokens
from x2vlm.commands.caption_frequencies import main, write_frequencies
from x2vlm.part_errors import ConfigError

LINES = [
    '{"image": "a.jpg", "caption": ["a red dog", "the red dog"], "image_id": 1}',
    '{"image": "b.jpg", "caption": "a cat", "image_id": 2}',
    "this line is torn",
    '{"image": "a.jpg", "caption": "dog!", "image_id": 1}',
]


@pytest.fixture
def cfg(tmp_path):
    (tmp_path / "train.jsonl").write_text("\n".join(LINES) + "\n")
    return Config(
        dict(
            data_root=str(tmp_path),
            streams=dict(
                image=dict(dataset=dict(type="JsonLines", ann_file="train.jsonl", pipeline=[dict(type="LoadImage")]))
            ),
        )
    )


def test_captions_of_one_image_are_one_document_and_no_image_is_opened(cfg, tmp_path):
    assert write_frequencies(cfg, tmp_path / "f.json") == (2, 1)
    expected = DocumentFrequencies.of(
        [[caption_tokens(text) for text in texts] for texts in (("a red dog", "the red dog", "dog!"), ("a cat",))]
    )
    found = DocumentFrequencies.read(tmp_path / "f.json")
    assert found.documents == 2
    assert found.counts == {gram: count for gram, count in expected.counts.items() if count > 1} == {("a",): 2}


def test_so_many_records_are_read(cfg, tmp_path):
    assert write_frequencies(cfg, tmp_path / "f.json", records=2) == (2, 0)


def test_a_stream_is_named_where_there_are_several(cfg, tmp_path):
    cfg.streams.other = cfg.streams.image
    with pytest.raises(ConfigError, match="streams image, other: name one by --stream"):
        write_frequencies(cfg, tmp_path / "f.json")
    with pytest.raises(ConfigError, match=r"no stream 'imag'.*'image'"):
        write_frequencies(cfg, tmp_path / "f.json", "imag")
    assert write_frequencies(cfg, tmp_path / "f.json", "other") == (2, 1)


def test_captions_of_the_toy_world_are_counted_from_the_command(tmp_path, capsys):
    out = tmp_path / "f.json"
    assert main(["configs/demo/toy_captions_scst.py", str(out), "--records", "6"]) == 0
    assert "captions of 6 images." in capsys.readouterr().out
    assert DocumentFrequencies.read(out).documents == 6
    with pytest.raises(ConfigError, match="exists"):
        main(["configs/demo/toy_captions_scst.py", str(out)])


def test_nothing_to_count_is_an_error(cfg, tmp_path):
    (tmp_path / "train.jsonl").write_text("torn\n")
    with pytest.raises(ConfigError, match="none of the 1 records that were read has a caption"):
        write_frequencies(cfg, tmp_path / "f.json")
