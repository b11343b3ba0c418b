"""``gallery`` as a user types it: encode, recall, search; killed and started again; in two processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from x2vlm.building import build
from x2vlm.commands import test as test_command
from x2vlm.commands.gallery import main
from x2vlm.config import load_config
from x2vlm.registry import MODELS, TOKENIZERS

EVALUATION = "evaluations.image_retrieval"


@pytest.fixture(scope="module")
def config(root):
    return str(root / "configs" / "demo" / "toy_pretrain.py")


@pytest.fixture(scope="module")
def checkpoint(config, tmp_path_factory):
    cfg, file = load_config(config), tmp_path_factory.mktemp("weights") / "fresh.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(MODELS, cfg.model, "model", tokenizer=build(TOKENIZERS, cfg.tokenizer, "tokenizer"))
        for parameter in model.parameters():  # fresh features are nearly all the same
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    torch.save({"state_dict": model.state_dict(), "meta": {}}, file)
    return str(file)


def options(scenes=12, batch_size=2, part_records=4, *more):
    return [
        *("--cfg-options", f"{EVALUATION}.dataset.num_scenes={scenes}", f"{EVALUATION}.batch_size={batch_size}"),
        *(f"gallery.part_records={part_records}", f"{EVALUATION}.metric.k=8", *more),
    ]


def figures(shown):
    """``{name: number}`` of a table."""
    return {words[0]: float(words[1]) for words in map(str.split, shown.splitlines()) if len(words) == 2}


def test_recall_on_disk_is_that_of_the_evaluation_and_search_names_records(config, checkpoint, tmp_path, capsys):
    args, folder = [config, checkpoint], str(tmp_path / "gallery")
    assert main(["encode", *args, folder, *options()]) == 0
    assert "12 contexts and 12 texts" in capsys.readouterr().out
    assert main(["recall", *args, folder, *options()]) == 0
    on_disk = figures(capsys.readouterr().out)
    cfg = load_config(config, {f"{EVALUATION}.dataset.num_scenes": 12, f"{EVALUATION}.metric.k": 8})
    cfg.evaluations = {"image_retrieval": cfg.evaluations.image_retrieval}
    cfg.dump(tmp_path / "alone.py")
    assert test_command.main([str(tmp_path / "alone.py"), checkpoint, "--work-dir", str(tmp_path / "work")]) == 0
    in_memory = figures(capsys.readouterr().out)
    assert on_disk == pytest.approx({name: in_memory[name] for name in on_disk})

    queries = tmp_path / "queries.txt"
    queries.write_text("a red circle\n\na small blue square\n")
    search = ["search", *args, folder, "--text", "A red circle!", "--texts", str(queries), "--k", "3", *options()]
    assert main(search) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["query"] for line in lines] == ["A red circle!", "a red circle", "a small blue square"]
    found = [[(one["record"], one["similarity"]) for one in line["found"]] for line in lines]
    assert found[0] == found[1] != found[2]  # cleaned as captions are
    for line in lines:
        matching = [one["matching"] for one in line["found"]]
        assert matching == sorted(matching, reverse=True)
        assert [one["where"] for one in line["found"]] == [f"toy-image-test:{one['record']}" for one in line["found"]]
        assert len(line["found"]) == 3


def test_a_gallery_of_other_weights_or_data_is_refused(config, checkpoint, tmp_path, capsys):
    folder = str(tmp_path / "gallery")
    assert main(["encode", config, checkpoint, folder, *options(4)]) == 0
    other = tmp_path / "other.pth"
    content = torch.load(checkpoint)
    content["state_dict"]["temperature"] += 0.01
    torch.save(content, other)
    assert main(["recall", config, str(other), folder, *options(4)]) == 2
    assert main(["encode", config, checkpoint, folder, *options(5)]) == 2
    told = capsys.readouterr().err
    assert "checkpoint_sha256 was" in told
    assert "records was 4, is 5" in told


@pytest.mark.parametrize(
    ("step", "more", "told"),
    [
        ("recall", [], "holds no gallery"),
        ("encode", ["--evaluation", "image_retreival"], "Did you mean 'image_retrieval'"),
        ("encode", ["--cfg-options", "gallery.part_record=3"], "gallery: .*'part_records'"),
        ("encode", ["--cfg-options", "gallery.context_tokens=int8"], "gallery: context_tokens is 'int8'"),
        ("encode", ["--cfg-options", f"{EVALUATION}.metric.index.type=FaissIFV"], "metric.index: .*FaissIVF"),
    ],
)
def test_mistakes_are_told_in_a_sentence(config, checkpoint, tmp_path, capsys, step, more, told):
    assert main([step, config, checkpoint, str(tmp_path / "gallery"), *more]) == 2
    shown = capsys.readouterr().err
    assert re.search(told, shown), shown


def test_a_search_needs_words(config, checkpoint, tmp_path, capsys):
    assert main(["encode", config, checkpoint, str(tmp_path), *options(4)]) == 0
    assert main(["search", config, checkpoint, str(tmp_path), *options(4)]) == 2
    assert "nothing to search for" in capsys.readouterr().err


def started(root, *words, processes=1):
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command += [str(root / "tools" / "gallery.py"), *words]
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def killed_with(running, folder, count):
    """Kill -9 as soon as there are so many parts; what is there then, each with its time and place on the disk."""
    while len(parts(folder)) < count:
        assert running.poll() is None, running.stderr.read()[-2000:]
        time.sleep(0.001)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    running.communicate()
    return parts(folder)


def parts(folder):
    whole = [path for path in folder.glob("**/[0-9]*") if path.is_dir() and path.name.isdigit()]
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in whole}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_after_kill_9_finished_parts_and_scores_stay_and_the_rest_is_made(root, config, checkpoint, tmp_path, capsys):
    asked = options(200, 2, 4, "gallery.context_tokens=fp16")
    words = [config, checkpoint, str(tmp_path / "killed"), *asked]
    there = killed_with(started(root, "encode", *words), tmp_path / "killed" / "parts", 3)
    assert 3 <= len(there) < 50
    assert main(["encode", *words]) == 0
    after = parts(tmp_path / "killed" / "parts")
    assert len(after) == 50
    assert {name: after[name] for name in there} == there
    assert not list((tmp_path / "killed").rglob("*.part"))

    whole = [config, checkpoint, str(tmp_path / "whole"), *asked]
    assert main(["encode", *whole]) == 0
    assert contents(tmp_path / "killed" / "parts") == contents(tmp_path / "whole" / "parts")

    scores = tmp_path / "killed" / "scores"
    there = killed_with(started(root, "recall", *words), scores, 1)
    capsys.readouterr()
    assert main(["recall", *words]) == 0
    after, ours = parts(scores), capsys.readouterr().out
    assert len(there) < len(after)
    assert {name: after[name] for name in there} == there
    assert main(["recall", *whole]) == 0
    assert figures(ours) == figures(capsys.readouterr().out)


@pytest.mark.slow
def test_two_processes_of_torchrun_make_the_gallery_and_the_figures_of_one(root, config, checkpoint, tmp_path, capsys):
    asked = options(32, 2, 4)
    for step in ("encode", "recall"):
        running = started(root, step, config, checkpoint, str(tmp_path / "two"), *asked, processes=2)
        shown, errors = running.communicate(timeout=120)
        assert running.returncode == 0, errors[-3000:]
    assert main(["encode", config, checkpoint, str(tmp_path / "one"), *asked]) == 0
    assert contents(tmp_path / "one" / "parts") == contents(tmp_path / "two" / "parts")
    capsys.readouterr()
    assert main(["recall", config, checkpoint, str(tmp_path / "one"), *asked]) == 0
    assert figures(shown) == pytest.approx(figures(capsys.readouterr().out))
    assert "encoding: 16 of 16 records" in (tmp_path / "two" / "encode.log").read_text()
