"""The sections of ``tools/gpu_check.py``: commands, shares of the time, figures read from each run, and targets."""

import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, float]
ITERATIONS, INTERVAL = 100, 10  # of the demo, and of its log


@dataclass(frozen=True)
class Target:
    """Upper or lower bound of a figure.

    Attributes:
        bound: The number.
        at_least: Whether more is better.
    """

    bound: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a figure meets it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Section:
    """A command of its own, with a share of the time.

    Attributes:
        name: Short; also the name of its folder.
        what: What it measures or tests.
        share: Of the time, relative to the others.
        command: ``(root of the repository, folder of the section) -> words``.
        read: ``(standard output, folder of the section) -> figures``.
        targets: For figures by name.
        needs_gpu: Whether it is skipped without one.
        needs_nccl: Whether it is skipped where torch has no NCCL.
    """

    name: str
    what: str
    share: float
    command: Callable[[Path, Path], list[str]]
    read: Callable[[str, Path], Figures]
    targets: Mapping[str, Target]
    needs_gpu: bool = True
    needs_nccl: bool = False


def sections() -> list[Section]:
    """All of them, in order."""
    times = {"varied_by_repeated": Target(1.15), "busy": Target(0.9, at_least=True), "memory_ratio": Target(0.3)}
    return [
        Section("gpu-tests", "tests that need a GPU", 30, _gpu_tests, read_tests, {}),
        Section("parity", "recorded tensors of the official release", 25, _parity, read_tests, {}, needs_gpu=False),
        _benchmark(
            "training-128", ["training", "--pairs", "128", "--batches", "12"], 75, {"step": Target(0.115), **times}
        ),
        _benchmark(
            "training-64", ["training", "--pairs", "64", "--batches", "12"], 45, {"step": Target(0.09), **times}
        ),
        _benchmark("mixed-step", ["train-step", "--pairs", "64"], 30, {}),
        _benchmark("rerank", ["rerank", "--queries", "16"], 25, {"ratio": Target(6, at_least=True)}),
        _benchmark("caption", ["caption"], 30, {"ratio": Target(4, at_least=True)}),
        _benchmark("encode", ["encode"], 20, {"ratio": Target(1.5, at_least=True)}),
        _demo("demo-bf16", "bf16", ["--amp", "bf16"]),
        _demo("demo-fp16", "fp16", ["--amp", "fp16"]),
        _demo("demo-nccl", "bf16, torchrun with NCCL", ["--amp", "bf16"], spread=True),
        _demo(
            "demo-sharded", "bf16, FullySharded", ["--amp", "bf16", "model_wrapper_cfg.type=FullySharded"], spread=True
        ),
    ]


def select_sections(names: Sequence[str] | None) -> list[Section]:
    """The named sections; all where no name is given.

    Raises:
        ValueError: If there is no such section.
    """
    by_name = {section.name: section for section in sections()}
    if unknown := [name for name in names or () if name not in by_name]:
        raise ValueError(f"--only: there is no section '{unknown[0]}'. There are: {', '.join(by_name)}.")
    return [section for name, section in by_name.items() if not names or name in names]


def limits(shares: Sequence[float], seconds: float) -> list[float]:
    """Seconds of each section if all take all of theirs."""
    return [seconds * share / sum(shares) for share in shares]


def read_tests(output: str, _: Path) -> Figures:
    """How many tests passed, failed, were skipped: from the last line of pytest."""
    lines = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed|skipped|error)", line)]
    if not lines:
        raise ValueError("the output of pytest has no summary line.")
    return {word: float(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", lines[-1])}


def read_benchmark(output: str, _: Path) -> Figures:
    """Of the report on the last line: the slowest ratio, and the figures of the library in the first row."""
    report = json.loads(output.splitlines()[-1])
    row = report["rows"][0]
    library, reference = row["library"], row["reference"]
    figures = {"ratio": report["ratio"], "step": library["median"], "reference_step": reference["median"]}
    figures["memory_ratio"] = max(each["memory_ratio"] for each in report["rows"])
    figures["share_of_matmul"] = library["flops_per_second"] / report["matmul"][library["precision"]]
    figures |= {name: library[name] for name in ("first", "greatest", "varied_by_repeated") if name in library}
    return figures | {name: library["gpu"][name] for name in ("busy", "kernels", "waits") if "gpu" in library}


def read_demo(_: str, folder: Path) -> Figures:
    """Median seconds of an iteration, and of its wait for data, without the first interval; the last loss."""
    files = sorted((folder / "work").glob("*/vis_data/scalars.json"))
    if not files:
        raise ValueError(f"the run left no scalars.json under {folder / 'work'}.")
    lines = [json.loads(line) for line in files[-1].read_text().splitlines()]
    logged = [line for line in lines if "time" in line and "loss" in line]
    if len(logged) < 2:
        raise ValueError(f"{files[-1]} has {len(logged)} lines of training; expected 2 or more.")
    counted = logged[1:]
    medians = {name: statistics.median(line[name] for line in counted) for name in ("time", "data_time")}
    return {"s_per_iteration": medians["time"], "data_s": medians["data_time"], "loss": logged[-1]["loss"]}


def _gpu_tests(root: Path, _: Path) -> list[str]:
    files = [path for folder in ("tests", "plugins") for path in sorted((root / folder).rglob("test_*.py"))]
    marked = [str(path.relative_to(root)) for path in files if "pytest.mark.gpu" in path.read_text()]
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *marked]


def _parity(_: Path, __: Path) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", "tests/parity"]


def _benchmark(name: str, words: list[str], share: float, targets: Mapping[str, Target]) -> Section:
    common = ["--size", "base", "--device", "cuda", "--precision", "bf16", "--json"]

    def command(_: Path, __: Path) -> list[str]:
        return [sys.executable, "tools/benchmark.py", *words, *common]

    return Section(name, f"{' '.join(words)}, base size, bf16", share, command, read_benchmark, targets)


def _demo(name: str, how: str, words: list[str], spread: bool = False) -> Section:
    changes = [word for word in words if "=" in word]
    options = [word for word in words if "=" not in word]

    def command(_: Path, folder: Path) -> list[str]:
        train = ["tools/train.py", "configs/demo/toy_pretrain.py", "--work-dir", str(folder / "work"), *options]
        train += ["--cfg-options", f"train_cfg.max_iters={ITERATIONS}", f"default_hooks.logger.interval={INTERVAL}"]
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "gpu"] if spread else []
        return [sys.executable, *launch, *train, *changes]

    what = f"{ITERATIONS} iterations of the demo, {how}"
    return Section(name, what, 25, command, read_demo, {"s_per_iteration": Target(0.06)}, needs_nccl=spread)


def skip_reason(section: Section, machine: Mapping[str, Any]) -> str | None:
    """The reason why a section is skipped on a machine; None where it runs."""
    if section.needs_gpu and not machine["gpus"]:
        return f"needs a GPU, and torch {machine['torch']} has no CUDA device here."
    if section.needs_nccl and not machine["nccl"]:
        return f"needs NCCL, which torch {machine['torch']} was built without."
    return None
