"""Which checkpoints there are: the last ones and the best ones, each removed only when its successor is on the disk."""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine import hooks
from mmengine.dist import is_main_process, master_only

from x2vlm.building import ConfigError
from x2vlm.engine.checkpoint.integrity import SaveError, discard, sweep
from x2vlm.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):
    """MMEngine's CheckpointHook, which removes an old checkpoint only after the new one is written.

    It also outlives a disk that is full: a save that fails is told, and training goes on to the next one.

    Args:
        interval: Iterations between checkpoints.
        max_failed_saves: So many saves in a row may fail; the next failure stops the run. 0 stops it at the first. The
            last save of a run, and one at a signal, must not fail.
        **options: As MMEngine's: ``max_keep_ckpts``, ``save_best``, ``rule``, ``save_last``, ``out_dir``, ...
    """

    def __init__(self, interval: int = -1, max_failed_saves: int = 3, **options: Any) -> None:
        super().__init__(interval, **options)
        if max_failed_saves < 0:
            raise ValueError(f"max_failed_saves is {max_failed_saves}; expected 0 or more.")
        self.max_failed_saves = max_failed_saves
        self.failed_saves = 0  # in a row

    def before_train(self, runner: Any) -> None:
        """Clear away what a run that was killed has left."""
        super().before_train(runner)
        self.file_backend = RemovesLater(self.file_backend)
        if is_main_process() and Path(self.out_dir).is_dir():
            sweep(Path(self.out_dir))

    def save_now(self, runner: Any, done: int) -> str:
        """Save the state after ``done`` iterations, and give the file's name.

        Raises:
            SaveError: If that fails, whatever number of failures is allowed.
        """
        tolerated, self.max_failed_saves = self.max_failed_saves, 0
        try:
            self._save_checkpoint_with_step(runner, done, meta={"epoch": runner.epoch, "iter": done})
        finally:
            self.max_failed_saves = tolerated
        return self.last_ckpt

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        known, last, most = runner.message_hub.runtime_info.copy(), self.last_ckpt, self.max_keep_ckpts
        ids = [one for one in self.keep_ckpt_ids if one != step] + [step] if most > 0 else []
        self.last_ckpt = path
        runner.message_hub.update_info("last_ckpt", path)
        if ids:  # with the one that will go: should this run die before it is removed, the next one removes it
            runner.message_hub.update_info("keep_ckpt_ids", list(ids))
        options = {"save_optimizer": self.save_optimizer, "save_param_scheduler": self.save_param_scheduler}
        options |= {"meta": meta, "by_epoch": self.by_epoch, "backend_args": self.backend_args, **self.args}
        try:
            runner.save_checkpoint(self.out_dir, Path(path).name, self.file_client_args, **options)
        except SaveError as error:
            self.last_ckpt = last
            self._failed(runner, step, known, error)
            return
        self.failed_saves = 0
        _note_last(runner, path)
        if ids:
            for old in ids[:-most] if is_main_process() else ():
                discard(Path(self.out_dir) / self.filename_tmpl.format(old))
            self.keep_ckpt_ids = deque(ids[-most:], most)
            runner.message_hub.update_info("keep_ckpt_ids", ids[-most:])

    def _save_best_checkpoint(self, runner: Any, metrics: Mapping[str, float]) -> None:
        if not self.save_best:
            return
        absent = [key for key in self.key_indicators if key != "auto" and key not in metrics]
        if absent:
            there = ", ".join(metrics)
            raise ConfigError(f"{', '.join(absent)} was not measured; there are: {there}.", "checkpoint.save_best")
        known = runner.message_hub.runtime_info.copy()
        best = {key: getattr(self, key) for key in ("best_ckpt_path", "best_ckpt_path_dict") if hasattr(self, key)}
        best = {key: dict(value) if isinstance(value, dict) else value for key, value in best.items()}
        try:
            super()._save_best_checkpoint(runner, metrics)
        except SaveError as error:
            self.file_backend.noted.clear()
            for key, value in best.items():
                setattr(self, key, value)
            self._failed(runner, runner.iter, known, error)
        self.file_backend.remove_noted()

    def _failed(self, runner: Any, done: int, known: Mapping[str, Any], error: SaveError) -> None:
        """Forget what was to be true of the checkpoint; tell, and go on or not."""
        runner.message_hub.runtime_info.clear()
        runner.message_hub.runtime_info.update(known)
        self.failed_saves += 1
        if self.failed_saves > self.max_failed_saves or done >= runner.max_iters:
            raise error
        more = self.max_failed_saves - self.failed_saves
        runner.logger.warning(f"{error} Training goes on; if the next {more + 1} saves fail as well, it stops.")


@master_only
def _note_last(runner: Any, path: str) -> None:
    try:
        (Path(runner.work_dir) / "last_checkpoint").write_text(path)
    except OSError as error:  # the checkpoint is whole, and found without this note
        runner.logger.warning(f"{runner.work_dir}/last_checkpoint could not be written: {error.strerror}.")


class RemovesLater:
    """A file backend that only notes what it is told to remove."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.noted: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        """Note a file."""
        self.noted.append(path)

    rmtree = remove

    def remove_noted(self) -> None:
        """Remove, now."""
        for path in self.noted:
            discard(Path(path))
        self.noted.clear()
