import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

from x2vlm.benchmark.gpu_check import gpu_report, gpu_sections
from x2vlm.benchmark.gpu_check.gpu_report import Result, format_table, run_all, run_one
from x2vlm.benchmark.gpu_check.gpu_sections import (
    Section,
    Target,
    limits,
    read_benchmark,
    read_demo,
    read_tests,
    select_sections,
)

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = {"gpus": 0, "card": "", "torch": "2.14.1", "cuda": "", "nccl": False, "python": "3.11.7"}
WITH = WITHOUT | {"gpus": 1, "card": "a card", "cuda": "13.0", "nccl": True}


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "tools" / "gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(name, code, targets=None, **changes):
    """Runs a line of Python, whose output is the figure ``number``."""

    def command(root, folder):
        return [sys.executable, "-c", code]

    def read(output, folder):
        return {"number": float(output)}

    return Section(name, "a line", 1.0, command, read, targets or {}, **{"needs_gpu": False, **changes})


GOOD = section("good", "print(3)", {"number": Target(4)})
BAD = section("bad", "raise SystemExit('out of memory')")
SLOW = section("slow", "import time; time.sleep(60)")
ODD = section("odd", "print('no number')")
POOR = section("poor", "print(3)", {"number": Target(4, at_least=True)})


def test_a_section_has_figures_beside_its_targets_and_keeps_its_output(tmp_path):
    result = run_one(GOOD, 30, ROOT, tmp_path)
    assert (result.outcome, result.figures) == ("passed", {"number": 3.0})
    assert result.targets == {"number": ("<= 4", True)}
    assert (tmp_path / "good" / "stdout.txt").read_text() == "3\n"
    assert run_one(POOR, 30, ROOT, tmp_path).targets == {"number": (">= 4", False)}


@pytest.mark.parametrize(
    ("one", "limit", "note"),
    [
        (BAD, 30, "exit status 1: out of memory"),
        (SLOW, 0.5, "not done within 0 s"),
        (ODD, 30, "its result cannot be read: ValueError"),
        (section("other", "print(3)", {"speed": Target(1)}), 30, "its result cannot be read: KeyError('speed')"),
    ],
)
def test_a_section_that_fails_says_why(one, limit, note, tmp_path):
    start = time.monotonic()
    result = run_one(one, limit, ROOT, tmp_path)
    assert result.outcome == "failed"
    assert note in result.note
    assert time.monotonic() - start < 20


def test_a_process_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_report, "_GRACE", 1.0)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    start = time.monotonic()
    assert run_one(section("deaf", deaf), 2.0, ROOT, tmp_path).outcome == "failed"
    assert time.monotonic() - start < 20


def test_sections_survive_one_that_fails_and_share_the_time_that_is_left(tmp_path, monkeypatch):
    given = []

    def run(one, limit, root, out):
        given.append(limit)
        return Result(one.name, "failed" if one is BAD else "passed")

    monkeypatch.setattr(gpu_report, "run_one", run)
    lines = []
    on_gpu = section("gpu", "print(3)", needs_gpu=True)
    results = run_all([BAD, on_gpu, GOOD], 100, (ROOT, tmp_path), WITHOUT, lines.append)
    assert [result.outcome for result in results] == ["failed", "skipped", "passed"]
    assert given == [pytest.approx(50, abs=1), pytest.approx(100, abs=1)]  # the second has what the first left
    assert "needs a GPU, and torch 2.14.1 has no CUDA device here." in results[1].note


@pytest.mark.parametrize(("machine", "runs"), [(WITH, True), (WITH | {"nccl": False}, False), (WITHOUT, False)])
def test_sections_with_nccl_need_it(machine, runs):
    (sharded,) = select_sections(["demo-sharded"])
    assert (gpu_sections.skip_reason(sharded, machine) is None) == runs


def test_without_a_gpu_everything_but_parity_is_skipped():
    assert [one.name for one in select_sections(None) if gpu_sections.skip_reason(one, WITHOUT) is None] == ["parity"]
    assert all(gpu_sections.skip_reason(one, WITH) is None for one in select_sections(None))


def test_commands_name_files_that_exist_and_options_that_the_benchmark_takes(tmp_path):
    from x2vlm.commands.benchmark import _parse

    for one in select_sections(None):
        words = one.command(ROOT, tmp_path)
        files = [word for word in words if word.startswith(("tests/", "plugins/", "tools/", "configs/"))]
        assert files
        assert all((ROOT / file).exists() for file in files)
        if "tools/benchmark.py" in words:
            args = _parse(words[2:])
            assert (args.device, args.precision, args.size, args.json) == ("cuda", "bf16", "base", True)
    (tests,) = select_sections(["gpu-tests"])
    assert "tests/models/layers/test_attention_on_gpu.py" in tests.command(ROOT, tmp_path)


@pytest.mark.slow
def test_the_demo_runs_for_real_with_the_options_of_its_sections(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_sections, "ITERATIONS", 2)
    monkeypatch.setattr(gpu_sections, "INTERVAL", 1)
    (demo,) = select_sections(["demo-bf16"])
    result = run_one(demo, 120, ROOT, tmp_path)
    assert result.outcome == "passed", result.note
    assert result.figures["s_per_iteration"] > result.figures["data_s"] >= 0
    assert result.targets["s_per_iteration"][0] == "<= 0.06"


def test_figures_of_the_benchmark_are_those_of_its_report(tmp_path):
    gpu = {"busy": 0.9, "kernels": 5700, "waits": 3, "items": 1, "nonzeros": 0}
    library = {"median": 0.1, "first": 0.2, "greatest": 0.11, "varied_by_repeated": 1.1, "gpu": gpu}
    library |= {"flops_per_second": 2e12, "precision": "bf16"}
    row = {"library": library, "reference": {"median": 0.5}, "memory_ratio": 0.3}
    report = {"ratio": 5.0, "matmul": {"side": 8192, "bf16": 8e12}, "rows": [row]}
    figures = read_benchmark(f"a line\n{json.dumps(report)}\n", tmp_path)
    assert figures == {
        "ratio": 5.0,
        "step": 0.1,
        "reference_step": 0.5,
        "memory_ratio": 0.3,
        "share_of_matmul": 0.25,
        "first": 0.2,
        "greatest": 0.11,
        "varied_by_repeated": 1.1,
        "busy": 0.9,
        "kernels": 5700,
        "waits": 3,
    }


def test_figures_of_tests_are_those_of_the_last_line(tmp_path):
    assert read_tests("....\n10 passed, 2 skipped in 3.1s\n", tmp_path) == {"passed": 10, "skipped": 2}
    with pytest.raises(ValueError, match="has no summary line"):
        read_tests("nothing\n", tmp_path)


def test_seconds_of_the_demo_leave_the_first_interval_out(tmp_path):
    log = tmp_path / "work" / "20260101" / "vis_data" / "scalars.json"
    with pytest.raises(ValueError, match=r"left no scalars\.json"):
        read_demo("", tmp_path)
    log.parent.mkdir(parents=True)
    lines = [{"time": t, "data_time": t / 10, "loss": 5 - t} for t in (3.0, 0.5, 0.4, 0.6)]
    log.write_text("\n".join(json.dumps(line) for line in [*lines, {"image_retrieval/r1": 1.0}]))
    assert read_demo("", tmp_path) == {"s_per_iteration": 0.5, "data_s": 0.05, "loss": 4.4}
    log.write_text(json.dumps(lines[0]))
    with pytest.raises(ValueError, match="has 1 lines of training"):
        read_demo("", tmp_path)


def test_the_table_has_a_line_for_each_section():
    results = [
        Result("step", "passed", 12.3, {"step": 0.1}, {"step": ("<= 0.115", True), "busy": (">= 0.9", False)}),
        Result("demo", "failed", 1.0, note="a | b"),
    ]
    lines = format_table(results, WITH).splitlines()
    assert lines[0] == "a card, 1 of them; torch 2.14.1, CUDA 13.0, Python 3.11.7"
    assert lines[-2] == "| step | passed | 12 | step 0.1 | step <= 0.115: met, busy >= 0.9: missed |"
    assert lines[-1] == "| demo | failed | 1 | a \\| b |  |"


def test_limits_are_shares_of_the_time():
    assert limits([1, 3], 60) == [15, 45]
    assert sum(limits([one.share for one in select_sections(None)], 360)) == pytest.approx(360)


@pytest.mark.parametrize(("ends", "status"), [(BAD, 1), (POOR, 0)])
def test_the_tool_writes_its_table_and_ends_with_1_if_a_section_failed(
    tool, ends, status, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(gpu_sections, "sections", lambda: [GOOD, ends, section("gpu", "print(3)", needs_gpu=True)])
    monkeypatch.setattr(tool, "probe_machine", lambda: WITHOUT)
    assert tool.main(["--minutes", "1", "--out", str(tmp_path)]) == status
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert [one["outcome"] for one in report["sections"]] == ["passed", "failed" if status else "passed", "skipped"]
    assert report["machine"] == WITHOUT
    assert (tmp_path / "gpu_check.md").read_text() in capsys.readouterr().out


def test_the_plan_runs_nothing_and_lists_seconds_and_targets(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "run_all", None)
    monkeypatch.setattr(tool, "probe_machine", lambda: WITHOUT)
    assert tool.main(["--plan", "--only", "parity,demo-fp16", "--minutes", "2", "--out", str(tmp_path / "new")]) == 0
    shown = capsys.readouterr().out
    assert "parity   60 s" in shown
    assert "s_per_iteration <= 0.06" in shown
    assert "training-128" not in shown
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--only", "speed"], "--only: there is no section 'speed'. There are: gpu-tests, parity"),
        (["--minutes", "0"], "--minutes is 0; expected more than 0"),
    ],
)
def test_the_tool_refuses_in_a_sentence(tool, argv, complaint, capsys):
    with pytest.raises(SystemExit):
        tool.main(argv)
    assert complaint in capsys.readouterr().err


def test_the_machine_is_probed_by_a_process_of_its_own():
    assert gpu_report.probe_machine().keys() == WITHOUT.keys()
