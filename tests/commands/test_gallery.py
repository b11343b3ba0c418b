"""``gallery`` on the command line: encode, recall, search; killed and resumed; in two processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

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
        for parameter in model.parameters():  # features of an untrained model are nearly equal
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    torch.save({"state_dict": model.state_dict(), "meta": {}}, file)
    return str(file)


def options(scenes=12, batch_size=2, part_records=4, *more):
    return [
        *("--cfg-options", f"{EVALUATION}.dataset.num_scenes={scenes}", f"{EVALUATION}.batch_size={batch_size}"),
        *(f"gallery.part_records={part_records}", f"{EVALUATION}.metric.k=8", *more),
    ]


def metrics(output):
    """``{name: number}`` of a table."""
    return {words[0]: float(words[1]) for words in map(str.split, output.splitlines()) if len(words) == 2}


def test_recall_on_disk_equals_the_evaluation_and_search_returns_records(config, checkpoint, tmp_path, capsys):
    args, folder = [config, checkpoint], str(tmp_path / "gallery")
    assert main(["encode", *args, folder, *options()]) == 0
    assert "12 contexts and 12 texts" in capsys.readouterr().out
    assert main(["recall", *args, folder, *options()]) == 0
    on_disk = metrics(capsys.readouterr().out)
    cfg = load_config(config, {f"{EVALUATION}.dataset.num_scenes": 12, f"{EVALUATION}.metric.k": 8})
    cfg.evaluations = {"image_retrieval": cfg.evaluations.image_retrieval}
    cfg.dump(tmp_path / "single.py")
    assert test_command.main([str(tmp_path / "single.py"), checkpoint, "--work-dir", str(tmp_path / "work")]) == 0
    in_memory = metrics(capsys.readouterr().out)
    assert on_disk == pytest.approx({name: in_memory[name] for name in on_disk})

    queries = tmp_path / "queries.txt"
    queries.write_text("a red circle\n\na small blue square\n")
    search = ["search", *args, folder, "--text", "A red circle!", "--texts", str(queries), "--k", "3", *options()]
    assert main(search) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["query"] for line in lines] == ["A red circle!", "a red circle", "a small blue square"]
    results = [[(context["record"], context["similarity"]) for context in line["found"]] for line in lines]
    assert results[0] == results[1] != results[2]  # queries are cleaned like captions
    for line in lines:
        matching = [context["matching"] for context in line["found"]]
        assert matching == sorted(matching, reverse=True)
        for context in line["found"]:
            assert context["where"] == f"toy-image-test:{context['record']}"
        assert len(line["found"]) == 3

    search = ["search", *args, folder, "--text", "a red circle", "--k", "3"]
    assert main([*search, *options(12, 2, 4, f"{EVALUATION}.metric.cosine_weight=1e5")]) == 0
    similarities = [context["similarity"] for context in json.loads(capsys.readouterr().out)["found"]]
    assert similarities == sorted(similarities, reverse=True)


def test_a_gallery_of_other_weights_or_data_is_refused(config, checkpoint, tmp_path, capsys):
    folder = str(tmp_path / "gallery")
    assert main(["encode", config, checkpoint, folder, *options(4)]) == 0
    other = tmp_path / "other.pth"
    content = torch.load(checkpoint)
    content["state_dict"]["temperature"] += 0.01
    torch.save(content, other)
    assert main(["recall", config, str(other), folder, *options(4)]) == 2
    assert main(["encode", config, checkpoint, folder, *options(5)]) == 2
    errors = capsys.readouterr().err
    assert "checkpoint_sha256 was" in errors
    assert "records was 4, is 5" in errors


@pytest.mark.parametrize(
    ("step", "more", "message"),
    [
        ("recall", [], "holds no gallery"),
        ("encode", ["--evaluation", "image_retreival"], "Did you mean 'image_retrieval'"),
        ("encode", ["--cfg-options", "gallery.part_record=3"], "gallery: .*'part_records'"),
        ("encode", ["--cfg-options", "gallery.context_tokens=int8"], "gallery: context_tokens is 'int8'"),
        ("encode", ["--cfg-options", f"{EVALUATION}.metric.index.type=FaissIFV"], "metric.index: .*FaissIVF"),
    ],
)
def test_mistakes_are_explained(config, checkpoint, tmp_path, capsys, step, more, message):
    assert main([step, config, checkpoint, str(tmp_path / "gallery"), *more]) == 2
    errors = capsys.readouterr().err
    assert re.search(message, errors), errors


def test_a_search_needs_queries(config, checkpoint, tmp_path, capsys):
    assert main(["encode", config, checkpoint, str(tmp_path), *options(4)]) == 0
    assert main(["search", config, checkpoint, str(tmp_path), *options(4)]) == 2
    assert "nothing to search for" in capsys.readouterr().err


def start(root, *arguments, processes=1):
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command += [str(root / "tools" / "gallery.py"), *arguments]
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kill_after(running, folder, count):
    """Kill -9 once there are ``count`` shards; the shards that are there, each with its inode and time."""
    while len(shards(folder)) < count:
        assert running.poll() is None, running.stderr.read()[-2000:]
        time.sleep(0.001)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    running.communicate()
    return shards(folder)


def shards(folder):
    # os.walk, unlike glob, goes on where a folder gets its final name while it is listed
    complete = [Path(above) / name for above, names, _ in os.walk(folder) for name in names if name.isdigit()]
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in complete}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_after_kill_9_finished_shards_and_scores_stay_and_the_rest_is_made(root, config, checkpoint, tmp_path, capsys):
    settings = options(200, 2, 4, "gallery.context_tokens=fp16")
    arguments = [config, checkpoint, str(tmp_path / "killed"), *settings]
    before = kill_after(start(root, "encode", *arguments), tmp_path / "killed" / "parts", 3)
    assert 3 <= len(before) < 50
    assert main(["encode", *arguments]) == 0
    after = shards(tmp_path / "killed" / "parts")
    assert len(after) == 50
    assert {name: after[name] for name in before} == before
    assert not list((tmp_path / "killed").rglob("*.part"))

    whole = [config, checkpoint, str(tmp_path / "whole"), *settings]
    assert main(["encode", *whole]) == 0
    assert contents(tmp_path / "killed" / "parts") == contents(tmp_path / "whole" / "parts")

    scores = tmp_path / "killed" / "scores"
    before = kill_after(start(root, "recall", *arguments), scores, 1)
    capsys.readouterr()
    assert main(["recall", *arguments]) == 0
    after, ours = shards(scores), capsys.readouterr().out
    assert len(before) < len(after)
    assert {name: after[name] for name in before} == before
    assert main(["recall", *whole]) == 0
    assert metrics(ours) == metrics(capsys.readouterr().out)


@pytest.mark.slow
def test_two_processes_of_torchrun_make_the_gallery_and_the_metrics_of_one(root, config, checkpoint, tmp_path, capsys):
    settings = options(32, 2, 4)
    for step in ("encode", "recall"):
        running = start(root, step, config, checkpoint, str(tmp_path / "two"), *settings, processes=2)
        output, errors = running.communicate(timeout=120)
        assert running.returncode == 0, errors[-3000:]
    assert main(["encode", config, checkpoint, str(tmp_path / "one"), *settings]) == 0
    assert contents(tmp_path / "one" / "parts") == contents(tmp_path / "two" / "parts")
    capsys.readouterr()
    assert main(["recall", config, checkpoint, str(tmp_path / "one"), *settings]) == 0
    assert metrics(output) == pytest.approx(metrics(capsys.readouterr().out))
    assert "encoding: 16 of 16 records" in (tmp_path / "two" / "encode.log").read_text()
