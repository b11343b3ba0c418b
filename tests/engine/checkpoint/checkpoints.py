"""What the tests of checkpoints share."""

from pathlib import Path

from x2vlm.engine.checkpoint.atomic_save import commit, part_of


def saving(config: dict, **options) -> dict:
    config["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", **options)
    return config


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(("iter_", "best_")))


def log_of(runner) -> str:
    return Path(runner.work_dir, runner.timestamp, f"{runner.timestamp}.log").read_text()


def written(path: Path, content: bytes) -> Path:
    part_of(path).write_bytes(content)
    commit(path)
    return path


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
