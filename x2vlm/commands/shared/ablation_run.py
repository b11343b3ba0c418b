"""One run of an ablation: a config with a seed, trained in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import x2vlm
from x2vlm.building import ConfigError

RECORD = "ablation.json"  # in a run's folder: its settings and its outcome
LOG = "ablation.log"


@dataclass(frozen=True)
class AblationConfig:
    """A config that is run with several seeds.

    Attributes:
        config: Its file.
        options: ``key=value`` changes, the same in all configs.
        max_iters: Iterations of a run.
        fingerprint: Changes when the config does, bases and options included.
    """

    config: Path
    options: tuple[str, ...]
    max_iters: int
    fingerprint: str


@dataclass(frozen=True)
class AblationRun:
    """A config with one seed, in a folder of its own."""

    plan: AblationConfig
    seed: int
    folder: Path

    def command(self, name: str, *arguments: str) -> list[str]:
        """The command line of ``x2vlm <name>`` for this run."""
        options = ["--cfg-options", f"randomness.seed={self.seed}", *self.plan.options]
        command = [name, str(self.plan.config), *arguments, "--work-dir", str(self.folder), *options]
        return [sys.executable, "-m", "x2vlm.cli", *command]

    def recorded(self) -> dict[str, Any]:
        """The record that an earlier call wrote; ``{}`` if the run was not started.

        Raises:
            ConfigError: If the folder holds something else.
        """
        file = self.folder / RECORD
        record = json.loads(file.read_text()) if file.is_file() else {}
        occupied = self.folder.is_dir() and any(self.folder.iterdir())
        if occupied and record.get("fingerprint") != self.plan.fingerprint:
            content = (
                f"a run of another version of {self.plan.config}, or of other options" if record else "something else"
            )
            raise ConfigError(f"{self.folder} holds {content}. Give another --work-dir, or move that folder away.")
        return record

    def write(self, **outcome: Any) -> dict[str, Any]:
        """Write the settings and the outcome of the run; returns them."""
        settings = {"config": str(self.plan.config), "seed": self.seed, "options": self.plan.options}
        record = settings | {"fingerprint": self.plan.fingerprint} | outcome
        (self.folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        return record

    def metrics(self) -> dict[str, float] | None:
        """The metrics after the last iteration; None if the run has not reached it."""
        file = self.folder / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        last = [line["metrics"] for line in lines if line["iter"] >= self.plan.max_iters]
        return last[-1] if last else None


def perform(run: AblationRun, log: Callable[[str], None]) -> dict[str, Any]:
    """Train a run, unless it has finished; returns its record.

    Args:
        run: The run.
        log: Takes lines for the user.
    """
    record = run.recorded()
    if record.get("status") == "finished":
        log("  done before")
        return record
    run.folder.mkdir(parents=True, exist_ok=True)
    run.write(status="started")
    start = time.perf_counter()
    failure = _train(run)
    seconds = round(time.perf_counter() - start, 1)
    if failure:
        log(f"  failed: {failure}")
        return run.write(status="failed", reason=failure, seconds=seconds)
    log(f"  finished in {seconds} s")
    return run.write(status="finished", metrics=run.metrics(), seconds=seconds)


def _train(run: AblationRun) -> str | None:
    """Train, or resume (the last evaluation may be all that is missing); the reason of a failure, or None."""
    log = run.folder / LOG
    status = _call(run.command("train", "--resume"), log)
    if status == 0 and run.metrics() is not None:
        return None
    return f"{last_line(log)} (full log: {log})"


def _call(command: Sequence[str], log: Path) -> int:
    """Run a command with its output appended to a file; stopped, stop it too, and wait until it has saved its state.

    It has a session of its own, so that Ctrl-C reaches it once, from here, as it does where this process alone is
    stopped (by `kill`, or a terminal that is closed).
    """
    root = str(Path(x2vlm.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    with (
        log.open("a") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        ) as process,
        _stops_as_interrupts(),
    ):
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()  # not SIGINT, which is ignored by what was started in the background
            try:
                process.wait()
            except KeyboardInterrupt:  # asked a second time: the run stops without saving
                process.terminate()
            raise


@contextmanager
def _stops_as_interrupts() -> Iterator[None]:
    """Let the signals that end this process raise ``KeyboardInterrupt``; in the main thread, which alone may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), signal.default_int_handler) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def last_line(file: Path) -> str:
    """The last line of a log that is not blank."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without output"
