import errno
import json

import pytest

from x2vlm.building import ConfigError
from x2vlm.commands.make_shards import main, number_of_bytes, part_of_parts
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.shard_writing.shard_writer import ShardWriter


def png(level):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), (level, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path):
    """Ten records, of which the third has no image and the eighth is broken JSON."""
    lines = []
    for i in range(10):
        (tmp_path / f"{i}.png").write_bytes(png(i))
        name = "gone.png" if i == 2 else f"{i}.png"
        lines.append("{broken" if i == 7 else json.dumps({"image": name, "caption": f"number {i}", "image_id": i}))
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "train.jsonl"


def packed(folder, name="shard"):
    data = TarShards(str(folder / f"{name}-*.jsonl"))
    return {data.record(i)["id"]: data.record(i)["image"] for i in range(len(data))}


GOOD = {str(i): png(i) for i in range(10) if i not in (2, 7)}


def test_all_that_can_be_used_is_packed_and_the_rest_named(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(source), str(out), "--shard-records", "3", "--max-bad", "0.5"]) == 0
    assert packed(out) == GOOD
    assert sorted(path.name for path in out.iterdir()) == [
        *("shard-00000.jsonl", "shard-00000.tar", "shard-00001.jsonl", "shard-00001.tar"),
        *("shard-00002.jsonl", "shard-00002.tar", "shard.bad", "shard.json"),
    ]
    bad = [json.loads(line) for line in (out / "shard.bad").read_text().splitlines()]
    assert [entry["where"] for entry in bad] == ["train.jsonl:3", "train.jsonl:8"]
    assert "8 records in 3 shards" in capsys.readouterr().out


def test_shards_end_at_a_size(source, tmp_path):
    assert main([str(source), str(tmp_path / "out"), "--shard-bytes", "2K", "--max-bad", "1"]) == 0
    assert [shard["records"] for shard in json.loads((tmp_path / "out" / "shard.json").read_text())["shards"]] == [
        2
    ] * 4


@pytest.mark.parametrize("broken_at", [0, 1, 2])
def test_an_interrupted_run_goes_on_and_gives_what_an_undisturbed_one_gives(source, tmp_path, monkeypatch, broken_at):
    options = ["--shard-records", "3", "--max-bad", "0.5"]
    assert main([str(source), str(tmp_path / "whole"), *options]) == 0
    finish, calls = ShardWriter.finish, []

    def full_disk(shard):
        calls.append(shard)
        if len(calls) == broken_at + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return finish(shard)

    with monkeypatch.context() as patched:
        patched.setattr(ShardWriter, "finish", full_disk)
        assert main([str(source), str(tmp_path / "out"), *options]) == 1
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".part")]
    assert main([str(source), str(tmp_path / "out"), *options]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()
    }


def test_a_shard_that_was_finished_but_not_entered_is_made_again(source, tmp_path, monkeypatch):
    from x2vlm.data.shard_writing.shard_manifest import ShardManifest

    commit, calls = ShardManifest.commit, []

    def killed(manifest, *arguments, **more):
        calls.append(manifest)
        if len(calls) == 2:  # the first says that shards of this name are its own
            raise KeyboardInterrupt
        commit(manifest, *arguments, **more)

    options = [str(source), str(tmp_path / "out"), "--shard-records", "3", "--max-bad", "0.5"]
    with monkeypatch.context() as patched:
        patched.setattr(ShardManifest, "commit", killed)
        assert main(options) == 130
    assert (tmp_path / "out" / "shard-00000.tar").exists()
    assert main(options) == 0
    assert packed(tmp_path / "out") == GOOD


def test_what_is_done_is_not_done_again(source, tmp_path, monkeypatch):
    options = [str(source), str(tmp_path / "out"), "--max-bad", "0.5"]
    assert main(options) == 0
    monkeypatch.setattr(ShardWriter, "__post_init__", None)  # any new shard would fail
    assert main(options) == 0


def test_other_shards_are_never_overwritten(source, tmp_path):
    options = [str(source), str(tmp_path / "out"), "--max-bad", "0.5"]
    assert main(options) == 0
    with pytest.raises(ConfigError, match=r"made from something else \(shard_records differ\)"):
        main([*options, "--shard-records", "2"])
    (tmp_path / "out" / "shard.json").unlink()
    with pytest.raises(ConfigError, match=r"which no shard\.json accounts for"):
        main(options)


def test_parts_together_are_the_whole(source, tmp_path):
    for part in ("1/3", "2/3", "3/3"):
        assert main([str(source), str(tmp_path / "out"), "--part", part, "--max-bad", "0.5"]) == 0
    assert packed(tmp_path / "out") == GOOD


def test_too_many_bad_records_stop_it_with_their_names(source, tmp_path, capsys):
    assert main([str(source), str(tmp_path / "out"), "--max-bad", "0.1"]) == 1
    reported = capsys.readouterr().err
    assert "2 of the 10 records read cannot be used" in reported
    assert "train.jsonl:8: broken JSON" in reported
    assert not list((tmp_path / "out").glob("shard-*"))


def test_a_broken_image_gets_in_only_where_nothing_is_decoded(source, tmp_path):
    (tmp_path / "4.png").write_bytes(png(4)[:30])
    assert main([str(source), str(tmp_path / "a"), "--max-bad", "0.5"]) == 0
    assert main([str(source), str(tmp_path / "b"), "--max-bad", "0.5", "--no-decode"]) == 0
    assert "4" not in packed(tmp_path / "a")
    assert packed(tmp_path / "b")["4"] == png(4)[:30]


def test_sizes_and_parts_are_read_as_written():
    assert [number_of_bytes(text) for text in ("512", "2K", "1.5M", "1g")] == [512, 2048, 1572864, 2**30]
    assert part_of_parts("2/8") == (2, 8)
    for wrong in ("0/8", "9/8", "x"):
        with pytest.raises(ValueError, match=r"."):
            part_of_parts(wrong)


@pytest.mark.slow
def test_several_processes_write_the_files_that_one_writes(source, tmp_path):
    for folder, workers in (("one", "0"), ("two", "2")):
        options = ["--max-bad", "0.5", "--shard-records", "3", "--workers", workers]
        assert main([str(source), str(tmp_path / folder), *options]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()
    }
