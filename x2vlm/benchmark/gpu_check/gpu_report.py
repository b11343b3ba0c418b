"""Run the sections of ``tools/gpu_check.py`` and report the results as one table."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from x2vlm.benchmark.gpu_check.gpu_sections import Section, skip_reason

_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
_PROBE = (
    "import json, platform, torch, torch.distributed as d; n = torch.cuda.device_count(); "
    "print(json.dumps(dict(gpus=n, card=torch.cuda.get_device_name() if n else '', torch=torch.__version__, "
    "cuda=torch.version.cuda or '', nccl=d.is_available() and d.is_nccl_available(), "
    "python=platform.python_version())))"
)


@dataclass(frozen=True)
class Result:
    """The result of a section.

    Attributes:
        section: Its name.
        outcome: ``passed``, ``failed`` or ``skipped``.
        seconds: Its duration.
        figures: Its measurements, by name.
        targets: Bounds of some figures, each with whether it is met.
        note: Why it failed or was skipped.
    """

    section: str
    outcome: str
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    targets: dict[str, tuple[str, bool]] = field(default_factory=dict)
    note: str = ""


def probe_machine() -> dict[str, Any]:
    """Number of GPUs, card and versions, from a process of its own: initialising CUDA takes memory of the GPU.

    Raises:
        RuntimeError: If torch cannot be imported.
    """
    process = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"torch cannot list the devices:\n{process.stderr[-2000:]}")
    return json.loads(process.stdout.splitlines()[-1])


def run_all(
    sections: Sequence[Section],
    seconds: float,
    where: tuple[Path, Path],
    machine: Mapping[str, Any],
    report: Callable[[str], Any],
) -> list[Result]:
    """Run sections one after the other, each for its share of the time that is left at most.

    Args:
        sections: In order.
        seconds: For all of them.
        where: Root of the repository, and folder of the results.
        machine: As :func:`probe_machine` gives it.
        report: Called with each line of progress.
    """
    end, results = time.monotonic() + seconds, []
    remaining = [section for section in sections if skip_reason(section, machine) is None]
    for section in sections:
        if section not in remaining:
            results.append(Result(section.name, SKIPPED, note=str(skip_reason(section, machine))))
        else:
            left = max(1.0, end - time.monotonic())
            limit = left * section.share / sum(each.share for each in remaining)
            remaining.remove(section)
            report(f"{section.name}: {section.what}; {limit:.0f} s at most")
            results.append(run_one(section, limit, *where))
        report(_format_brief(results[-1]))
    return results


def run_one(section: Section, limit: float, root: Path, out: Path) -> Result:
    """Run a section in a process of its own, which is killed with all its children at its time limit.

    What it writes is kept in ``out``, in a folder of the section's name.
    """
    folder, start = out / section.name, time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = section.command(root, folder.resolve())
    status = _process(command, root, folder, limit)
    seconds, output = time.monotonic() - start, (folder / "stdout.txt").read_text(errors="replace")
    if status is None:
        return Result(section.name, FAILED, seconds, note=f"not done within {limit:.0f} s; see {folder}.")
    if status:
        return Result(section.name, FAILED, seconds, note=f"exit status {status}: {_last_line(folder)} See {folder}.")
    try:
        figures = section.read(output, folder)
        met = {name: (str(target), target.is_met(figures[name])) for name, target in section.targets.items()}
    except (ValueError, LookupError) as error:
        return Result(section.name, FAILED, seconds, note=f"its result cannot be read: {error!r} See {folder}.")
    return Result(section.name, PASSED, seconds, figures, met)


def _process(command: Sequence[str], root: Path, folder: Path, limit: float) -> int | None:
    """Exit status; None where the time limit was reached."""
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    with (folder / "stdout.txt").open("w") as out, (folder / "stderr.txt").open("w") as err:
        process = subprocess.Popen(command, cwd=root, env=env, stdout=out, stderr=err, start_new_session=True)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _end(process: subprocess.Popen) -> None:
    """End a process and its children; torchrun's workers are in groups of their own, and torchrun ends them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)


def _last_line(folder: Path) -> str:
    for name in ("stderr.txt", "stdout.txt"):
        lines = [line.strip() for line in (folder / name).read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return lines[-1][:300]
    return "no output."


def format_table(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """All results, as markdown."""
    card = machine["card"] or "no GPU"
    lines = [
        f"{card}, {machine['gpus']} of them; torch {machine['torch']}, CUDA {machine['cuda'] or 'none'}, "
        f"Python {machine['python']}",
        "",
        "| section | outcome | s | figures | targets |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in result.figures.items()) or result.note
        targets = ", ".join(
            f"{name} {bound}: {'met' if met else 'missed'}" for name, (bound, met) in result.targets.items()
        )
        cells = (result.section, result.outcome, f"{result.seconds:.0f}", figures.replace("|", "\\|"), targets)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_report(results: Sequence[Result], machine: Mapping[str, Any], out: Path) -> None:
    """``gpu_check.md`` and ``gpu_check.json`` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu_check.md").write_text(format_table(results, machine))
    report = {"machine": dict(machine), "sections": [asdict(result) for result in results]}
    (out / "gpu_check.json").write_text(json.dumps(report, indent=1) + "\n")


def _format_brief(result: Result) -> str:
    missed = [name for name, (_, met) in result.targets.items() if not met]
    brief = f"{result.section}: {result.outcome}, {result.seconds:.0f} s"
    return f"{brief}{'; missed: ' + ', '.join(missed) if missed else ''}{'; ' + result.note if result.note else ''}"
