import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from tests.raw_sets import KEPT, save, scene, write_raw_sets
from x2vlm.building import ConfigError, build
from x2vlm.commands.build_pretraining_set import main
from x2vlm.config import load_config
from x2vlm.data.data_root import with_data_root
from x2vlm.data.datasets.file_formats.lines_or_shards import LinesOrShards
from x2vlm.data.shard_writing.shard_writer import ShardWriter
from x2vlm.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]
ONE_A_SHARD = ("--shard-records", "1")
RAW_4M = str(ROOT / "configs" / "base" / "raw_4m.py")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write_raw_sets(folder)
    return folder


def command(raw, out, *more, max_bad="0.5"):
    return [RAW_4M, str(out), "--max-bad", max_bad, *more, "--cfg-options", f"data_root={raw}"]


@pytest.fixture(scope="module")
def built(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert main(command(raw, out)) == 0
    return out


@pytest.fixture(scope="module")
def one_a_shard(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("one_a_shard")
    assert main(command(raw, out, *ONE_A_SHARD)) == 0
    return out


def records(out, folder):
    data = LinesOrShards(str(out / folder / "*.jsonl"))
    return [data.record(index) for index in range(len(data))]


def report_of(out):
    return json.loads((out / "report.json").read_text())


def files_of(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_what_is_packed_is_every_set_less_the_images_of_test_sets(built):
    sets = load_config(RAW_4M).raw_sets
    assert {name: [one["id"] for one in records(built, sets[name].out)] for name in sets} == KEPT


def test_test_images_are_left_out_by_every_name_they_have_and_by_how_they_look(built):
    sets = load_config(RAW_4M).raw_sets
    lines = {
        name: [json.loads(line) for line in (built / sets[name].out / f"{name}.excluded").read_text().splitlines()]
        for name in ("coco", "vg", "sbu", "cc3m", "flickr_entities")
    }
    told = {name: [(one["id"], one["by"], one["test"], one["test_id"]) for one in lines[name]] for name in lines}
    assert told["coco"] == [("coco:5", "ids", "refcoco", "coco:5")]
    assert told["vg"][:2] == [("vg:102", "ids", "coco", "coco:4"), ("vg:103", "ids", "coco", "coco:3")]
    assert told["vg"][2] == ("vg:104", "pictures", "coco", "coco:4")
    assert (lines["vg"][2]["mirrored"], lines["vg"][2]["distance"] <= 24) == (True, True)
    assert told["sbu"][0] == ("flickr:1000004", "ids", "coco", "coco:4")
    assert told["sbu"][1][1:] == ("pictures", "coco", "coco:4")
    assert told["cc3m"][0][1:3] == ("pictures", "nlvr2_test")
    assert told["flickr_entities"] == [("flickr:2000002", "ids", "flickr30k", "flickr:2000002")]


def test_the_report_counts_what_was_found_published_left_out_and_why(built):
    sets = report_of(built)["sets"]
    sbu, objects, regions = sets["sbu"], sets["vg_objects"], sets["vg_regions"]
    assert (sbu["found"], sbu["published"]["images"], sbu["packed"], sbu["bad"]) == (4, 860_000, 1, 1)
    assert (sbu["excluded"]["ids"], sbu["excluded"]["pictures"]) == (1, 1)
    assert sbu["excluded"]["tests"] == {"coco, ids": 1, "coco, pictures": 1}
    (reason,) = sbu["bad_reasons"]
    assert "Truncated File Read" in reason
    assert (objects["objects"], objects["unusable_elements"], regions["regions"]) == (1, 1, 3)
    assert sets["coco"]["captions"] == 15
    assert {name: one["state"] for name, one in sets.items()} == dict.fromkeys(sets, "complete")
    shown = (built / "report.md").read_text()
    assert "| sbu             | complete | 4     | 860,000   | 1       | 1       | 1   | 1      |" in shown
    assert "- 1 shown by coco, pictures" in shown
    assert report_of(built)["tests"]["refcoco"]["images"] == 8


def test_the_4m_config_reads_the_list(built):
    streams = load_config(ROOT / "configs" / "pretrain" / "x2vlm_base_4m.py").streams
    image, region = (
        build(DATASETS, with_data_root(streams[name].dataset, str(built)), name) for name in ("image", "region")
    )
    assert (len(image), len(region)) == (6, 10)
    assert {len(image[index].texts) for index in range(6)} == {1}
    samples = [region[index] for index in range(10)]
    assert all(sample.has_box.any() for sample in samples)
    assert {text for sample in samples for text in sample.texts} >= {"dog", "a grey wall", "brown dog"}


def test_captions_of_visual_genome_are_what_is_said_of_its_regions(built):
    (record,) = records(built, "images/vg")
    assert (record["caption"], "elems" in record) == (["a dog", "a grey wall"], False)


def test_the_same_command_gives_the_same_files_and_reads_nothing_again(raw, built, monkeypatch):
    before = files_of(built)
    monkeypatch.setattr("x2vlm.data.pretraining_set.raw_sets.build", None)
    monkeypatch.setattr("x2vlm.building.build", None)
    assert main(command(raw, built)) == 0
    assert files_of(built) == before


@pytest.mark.slow
def test_workers_do_not_change_a_byte(raw, built, tmp_path):
    assert main(command(raw, tmp_path / "out", "--workers", "2")) == 0
    assert files_of(tmp_path / "out") == files_of(built)


@pytest.mark.parametrize("finished", [0, 2, 5])
def test_an_interrupted_list_goes_on_and_becomes_what_an_undisturbed_one_is(
    raw, one_a_shard, tmp_path, monkeypatch, finished
):
    finish, calls = ShardWriter.finish, []

    def full_disk(shard):
        calls.append(shard)
        if len(calls) == finished + 1:
            raise OSError(28, "No space left on device")
        return finish(shard)

    with monkeypatch.context() as patched:
        patched.setattr(ShardWriter, "finish", full_disk)
        assert main(command(raw, tmp_path / "out", *ONE_A_SHARD)) == 1
    assert main(command(raw, tmp_path / "out", *ONE_A_SHARD)) == 0
    assert files_of(tmp_path / "out") == files_of(one_a_shard)


@pytest.mark.slow
def test_a_killed_list_goes_on_and_becomes_what_an_undisturbed_one_is(raw, one_a_shard, tmp_path):
    out, killed = tmp_path / "out", 0
    code = "import sys; from x2vlm.cli import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "build-pretraining-set", *command(raw, out, *ONE_A_SHARD)]
    while True:
        known = len(list(out.glob("*/*/*.tar")))
        process = subprocess.Popen(line, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("*/*/*.tar"))) < known + 6:
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    assert (process.returncode, killed >= 1) == (0, True)
    assert files_of(out) == files_of(one_a_shard)


def test_a_missing_set_stops_the_command_before_it_starts(raw, tmp_path, capsys):
    options = [f"data_root={raw}", "raw_sets.sbu.dataset.downloads=gone", "held_out_sets.winoground.dataset.root=away"]
    line = [RAW_4M, str(tmp_path / "out"), "--cfg-options", *options]
    assert main(line) == 2
    shown = capsys.readouterr().out
    assert f"raw_sets.sbu: MISSING {raw}/gone" in shown
    assert f"held_out_sets.winoground: MISSING {raw}/away" in shown
    assert "raw_sets.coco: there" in shown
    assert "--without raw_sets.sbu held_out_sets.winoground" in shown
    assert not (tmp_path / "out").exists()


def test_a_set_that_one_does_without_is_told(raw, tmp_path, capsys):
    without = ["--without", "sbu", "held_out_sets.winoground", "--only", "cc3m"]
    assert main([RAW_4M, str(tmp_path / "out"), "--check", *without, "--cfg-options", f"data_root={raw}"]) == 0
    assert "raw_sets.sbu: left out (--without)" in capsys.readouterr().out
    assert main(command(raw, tmp_path / "out", *without)) == 1  # the others are not packed yet
    report = report_of(tmp_path / "out")
    assert report["without"] == ["raw_sets.sbu", "held_out_sets.winoground"]
    assert [report["sets"][name]["state"] for name in ("cc3m", "coco")] == ["complete", "absent"]
    assert (
        "Left out by --without: raw_sets.sbu, held_out_sets.winoground." in (tmp_path / "out" / "report.md").read_text()
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("sbuu", r"'sbuu' is no set\. Did you mean .*sbu"), ("coco", r"'coco' is ambiguous: raw_sets\.coco, held_out")],
)
def test_a_name_that_is_no_set_is_refused(raw, tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        main(command(raw, tmp_path / "out", "--without", name))


def test_a_set_with_too_many_bad_records_stops_and_the_others_go_on(raw, tmp_path, capsys):
    assert main(command(raw, tmp_path / "out", max_bad="0.1")) == 1
    sets = report_of(tmp_path / "out")["sets"]
    assert [name for name, one in sets.items() if one["state"] != "complete"] == ["sbu"]
    assert "1 of the 4 records read cannot be used" in sets["sbu"]["note"]
    assert main(command(raw, tmp_path / "out", max_bad="0.5")) == 0


def test_a_list_goes_on_only_with_the_same_test_images(raw, built, tmp_path):
    assert main(command(raw, tmp_path / "out", "--only", "cc3m")) == 1
    line = command(raw, tmp_path / "out", "--only", "cc3m", "--without", "nlvr2_test")
    assert main(line) == 1
    assert "made from something else (held_out differ)" in report_of(tmp_path / "out")["sets"]["cc3m"]["note"]


def test_leaving_out_every_raw_set_is_refused(raw, tmp_path):
    every = [f"raw_sets.{name}" for name in load_config(RAW_4M).raw_sets]
    with pytest.raises(ConfigError, match="--without leaves out every raw set"):
        main(command(raw, tmp_path, "--without", *every))


def test_what_another_run_packs_need_not_be_here(raw, tmp_path):
    missing = "raw_sets.cc3m.dataset.ann_file=nowhere.tsv"
    assert main([*command(raw, tmp_path, "--check", "--only", "coco"), missing]) == 0
    assert main([*command(raw, tmp_path, "--check"), missing]) == 2


def test_a_config_without_raw_sets_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("data_root = 'raw'\n")
    with pytest.raises(ConfigError, match="has no raw_sets"):
        main([str(tmp_path / "empty.py"), str(tmp_path / "out")])


@pytest.fixture
def small(tmp_path):
    """A config of one raw set and one test set of three scenes each; gives a function that changes it and runs it."""
    (tmp_path / "raw" / "images").mkdir(parents=True)
    (tmp_path / "raw" / "test").mkdir()
    for number in range(6):
        save(tmp_path / "raw" / ("images" if number < 3 else "test") / f"{number}.jpg", scene(number))
    lines = [{"image": f"{number}.jpg", "caption": "a scene", "id": str(number)} for number in range(3)]
    (tmp_path / "raw" / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def run(*options, out="images/own", raw="", held_out="", more="", named_by="coco"):
        own = f'dict(out={out!r}, dataset=dict(type="JsonLines", ann_file="own.jsonl", image_root="images"))'
        test = f'dict(dataset=dict(type="ImageFolder", root="test", labels=False), named_by={named_by!r})'
        (tmp_path / "raw.py").write_text(
            f"data_root = {str(tmp_path / 'raw')!r}\nraw_sets = dict(own={own}{raw})\n"
            f"held_out_sets = dict(test={test}{held_out})\n{more}\n"
        )
        return main([str(tmp_path / "raw.py"), str(tmp_path / "out"), *options])

    return run


SECOND = ', second=dict(out={out!r}, dataset=dict(type="JsonLines", ann_file="own.jsonl", image_root="images"){more})'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(raw=SECOND.format(out="images/own/", more="")), r"raw_sets\.second\.out: .*folder of raw_sets\.own"),
        (dict(out="../elsewhere"), r"raw_sets\.own\.out: '\.\./elsewhere' is no folder for a set"),
        (dict(out="/elsewhere"), r"raw_sets\.own\.out: '/elsewhere' is no folder for a set"),
        (dict(out="held_out"), r"raw_sets\.own\.out: 'held_out' is no folder for a set"),
        (
            dict(raw=SECOND.format(out="b", more=", published=dict(imagez=1)")),
            r"raw_sets\.second: published has no 'imagez'",
        ),
        (dict(more="same_images = dict(vg='own.jsonl')"), r"same_images\.vg: .*own\.jsonl breaks"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused_in_a_sentence(small, changes, message):
    with pytest.raises(ConfigError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--distance", "64"), "--distance is a number of bits from 0 to 63"),
        (("--distance", "-1"), "--distance is a number of bits"),
        (("--max-bad", "2"), "--max-bad is a share, from 0 to 1"),
        (("--workers", "-1"), "--workers is a number of processes, from 0"),
    ],
)
def test_a_number_out_of_its_range_is_refused(small, capsys, options, message):
    with pytest.raises(SystemExit):
        small(*options)
    assert message in capsys.readouterr().err


def test_a_name_that_no_other_set_has_is_told(small, capsys):
    assert small("--check", named_by="cooc") == 0
    told = "held_out_sets.test: no set in raw_sets has named_by='cooc', so its images are compared by how they look"
    assert f"{told} alone. Did you mean 'coco'?" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(small, tmp_path, monkeypatch):
    (tmp_path / "out").write_text("a file")
    monkeypatch.setattr("x2vlm.data.inspection.held_out.fingerprint_test_set", None)
    with pytest.raises(ConfigError, match=r"out: (File exists|Not a directory)\. The list needs a folder"):
        small()


GONE = ', gone=dict(dataset=dict(type="JsonLines", ann_file="own.jsonl", image_root="test"), named_by="coco")'


def test_a_test_set_without_its_images_stops_the_command_unless_names_suffice(small, tmp_path):
    with pytest.raises(
        ConfigError, match=r"held_out_sets\.gone: 3 of the 3 records cannot be read.*--without held_out"
    ):
        small(held_out=GONE)
    assert small("--by", "ids", held_out=GONE) == 0
    assert report_of(tmp_path / "out")["tests"]["gone"]["bad"] == 3


def test_a_test_set_whose_images_have_come_is_read_anew(small, tmp_path):
    assert small("--max-bad", "1", held_out=GONE) == 0
    for number in range(3):
        save(tmp_path / "raw" / "test" / f"{number}.jpg", scene(number))
    (tmp_path / "out" / "images" / "own" / "own.json").unlink()
    for path in (tmp_path / "out" / "images" / "own").iterdir():
        path.unlink()
    assert small(held_out=GONE) == 0
    report = report_of(tmp_path / "out")
    assert (report["tests"]["gone"]["bad"], report["sets"]["own"]["packed"]) == (0, 0)


@pytest.mark.parametrize("name", ["test.json", "test.npz"])
def test_what_was_kept_of_a_test_set_is_made_anew_where_it_is_broken(small, tmp_path, name):
    assert small() == 0
    before = files_of(tmp_path / "out")
    file = tmp_path / "out" / "held_out" / name
    file.write_bytes(file.read_bytes()[:40])
    assert small() == 0
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (
            "own.json",
            b'{"asked"',
            r"own\.json says which shards are finished, but it is broken: .*delete all of own in",
        ),
        ("own.json", b"{}", r"own\.json says which shards are finished, but it is broken: it has no 'asked'"),
        (
            "own.json",
            b'{"asked": {}, "next": 0, "bad": 0, "done": false, "shards": [{"tar": "own-00000.tar"}]}',
            r"own\.json says which shards are finished, but it is broken: it has no 'index'",
        ),
        ("own-00000.tar", b"torn", r"own-00000\.tar has 4 bytes, but was written with \d.*delete all of own in"),
        ("own-00000.tar", None, r"own-00000\.tar is not there any more\. Put it back"),
        ("own-00000.jsonl", None, r"own-00000\.jsonl is not there any more"),
    ],
)
def test_finished_shards_that_were_damaged_are_told_and_the_other_sets_go_on(small, tmp_path, name, damage, message):
    second = SECOND.format(out="images/second", more="")
    assert small("--only", "own", raw=second) == 1
    file = tmp_path / "out" / "images" / "own" / name
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    assert small(raw=second) == 1
    sets = report_of(tmp_path / "out")["sets"]
    assert (sets["own"]["state"], sets["second"]["state"]) == ("absent", "complete")
    assert re.search(message, sets["own"]["note"])


def altered(image):
    """Copies as the web has them."""
    width, height = image.size
    yield image.resize((width // 2, height // 2), Image.Resampling.BICUBIC), 85
    yield image, 40
    yield image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 90
    yield image.crop((0, 0, round(width * 0.95), round(height * 0.95))), 90
    yield ImageEnhance.Brightness(image.convert("L").convert("RGB")).enhance(1.2), 90


def test_altered_copies_of_photographs_of_a_test_set_are_found(shared, tmp_path):
    data = shared / "data"
    originals = sorted((data / "coco128" / "images").glob("*.jpg"))[:8]
    (tmp_path / "web").mkdir()
    lines = []
    for number, path in enumerate(originals):
        for way, (image, quality) in enumerate(altered(Image.open(path).convert("RGB"))):
            image.save(tmp_path / "web" / f"{number}-{way}.jpg", quality=quality)
            lines.append({"image": f"{number}-{way}.jpg", "caption": "a photo", "image_id": f"{number}-{way}"})
    (tmp_path / "web" / "web.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "raw.py").write_text(f"""
data_root = {str(data)!r}
raw_sets = dict(
    web=dict(out="images/web", dataset=dict(type="JsonLines", ann_file={str(tmp_path / "web" / "web.jsonl")!r})),
    coco=dict(
        out="regions/coco",
        dataset=dict(
            type="Coco",
            image_root="real_captions/coco/images",
            captions_file="real_captions/coco/captions.json",
            instances_file="real_captions/coco/instances.json",
            subset=dict(stop=60),
        ),
        named_by="coco",
    ),
    flickr8k=dict(
        out="images/flickr8k",
        dataset=dict(type="TarShards", ann_file="real_captions/flickr8k/flickr8k_val.jsonl", subset=dict(stop=60)),
    ),
)
held_out_sets = dict(
    coco128=dict(dataset=dict(type="ImageFolder", root="coco128/images", labels=False), named_by="coco"),
    coco=dict(
        dataset=dict(
            type="Coco",
            image_root="real_captions/coco/images",
            captions_file="real_captions/coco/captions.json",
            subset=dict(stop=10),
        ),
        named_by="coco",
    ),
)
""")
    out = tmp_path / "out"
    assert main([str(tmp_path / "raw.py"), str(out)]) == 0
    sets = report_of(out)["sets"]
    assert (sets["web"]["excluded"]["pictures"], sets["web"]["packed"]) == (40, 0)
    assert (sets["coco"]["excluded"]["ids"], sets["coco"]["packed"]) == (10, 50)
    assert (sets["flickr8k"]["excluded"]["pictures"], sets["flickr8k"]["packed"]) == (0, 60)
    assert sets["coco"]["objects"] > 100 and sets["flickr8k"]["regions"] > 500
    excluded = [json.loads(line) for line in (out / "images" / "web" / "web.excluded").read_text().splitlines()]
    assert [one["test_id"] for one in excluded] == [f"coco:{int(path.stem)}" for path in originals for _ in range(5)]


def test_a_clip_of_a_test_set_is_found_in_another_codec(shared, tmp_path):
    (tmp_path / "raw.py").write_text(f"""
data_root = {str(shared / "data")!r}
raw_sets = dict(clips=dict(out="videos/clips", dataset=dict(type="VideoFolder", root="videos")))
held_out_sets = dict(test=dict(dataset=dict(type="VideoFolder", root="videos", endings=(".webm",))))
""")
    out = tmp_path / "out"
    assert main([str(tmp_path / "raw.py"), str(out)]) == 0
    lines = (out / "videos" / "clips" / "clips.excluded").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["bikes.mp4", "bikes_vp8.webm"]  # H.264 and VP8
    assert report_of(out)["sets"]["clips"]["packed"] == 5
    assert len(records(out, "videos/clips")) == 5


def test_scenes_of_different_numbers_are_not_taken_for_copies():
    import numpy as np

    from x2vlm.data.inspection.perceptual_hash import image_hashes, near_duplicate_pairs

    hashes = np.stack(
        [image_hashes(np.asarray(scene(number))) for number in (*range(1, 9), *range(101, 105), 201, 202)]
    )
    assert [(i, j) for i, j, *_ in near_duplicate_pairs(hashes, hashes)] == [(i, i) for i in range(len(hashes))]
