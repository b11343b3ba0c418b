"""When checkpoints are saved and which are kept: the latest ones and the best ones (``save_best``)."""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine import hooks
from mmengine.dist import is_main_process, master_only

from x2vlm.building import ConfigError
from x2vlm.engine.checkpoint.atomic_save import SaveError, discard, remove_leftovers
from x2vlm.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):
    """MMEngine's CheckpointHook, which removes an old checkpoint only after its successor is on the disk.

    A failed save, on a full disk for example, is logged, and training continues until the next one.

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
        """Remove partial files of a run that was killed."""
        super().before_train(runner)
        self.file_backend = DeferredRemoval(self.file_backend)
        if is_main_process() and Path(self.out_dir).is_dir():
            remove_leftovers(Path(self.out_dir))

    def save_now(self, runner: Any, iteration: int) -> str:
        """Save the state after ``iteration`` iterations; returns the file name.

        Raises:
            SaveError: If that fails, whatever ``max_failed_saves`` allows.
        """
        tolerated, self.max_failed_saves = self.max_failed_saves, 0
        try:
            self._save_checkpoint_with_step(runner, iteration, meta={"epoch": runner.epoch, "iter": iteration})
        finally:
            self.max_failed_saves = tolerated
        return self.last_ckpt

    def has_saved(self, iteration: int, path: str | None) -> bool:
        """Whether ``path`` is the checkpoint after ``iteration`` iterations."""
        return str(path or "").endswith(self.filename_tmpl.format(iteration))

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        info, last, max_keep = runner.message_hub.runtime_info.copy(), self.last_ckpt, self.max_keep_ckpts
        ids = [other for other in self.keep_ckpt_ids if other != step] + [step] if max_keep > 0 else []
        self.last_ckpt = path
        runner.message_hub.update_info("last_ckpt", path)
        if ids:  # including the one to remove: if this run dies before that, the resumed run removes it
            runner.message_hub.update_info("keep_ckpt_ids", list(ids))
        options = {"save_optimizer": self.save_optimizer, "save_param_scheduler": self.save_param_scheduler}
        options |= {"meta": meta, "by_epoch": self.by_epoch, "backend_args": self.backend_args, **self.args}
        try:
            runner.save_checkpoint(self.out_dir, Path(path).name, self.file_client_args, **options)
        except SaveError as error:
            self.last_ckpt = last
            self._handle_failure(runner, step, info, error)
            return
        self.failed_saves = 0
        _write_last_checkpoint(runner, path)
        if ids:
            for old in ids[:-max_keep] if is_main_process() else ():
                discard(Path(self.out_dir) / self.filename_tmpl.format(old))
            self.keep_ckpt_ids = deque(ids[-max_keep:], max_keep)
            runner.message_hub.update_info("keep_ckpt_ids", ids[-max_keep:])

    def _save_best_checkpoint(self, runner: Any, metrics: Mapping[str, float]) -> None:
        """Save the weights if a metric of ``save_best`` improved, then remove the previous best checkpoint."""
        if not self.save_best:
            return
        absent = [key for key in self.key_indicators if key != "auto" and key not in metrics]
        if absent:
            measured = ", ".join(metrics)
            raise ConfigError(f"{', '.join(absent)} was not measured; there are: {measured}.", "checkpoint.save_best")
        info = runner.message_hub.runtime_info.copy()
        best = {key: getattr(self, key) for key in ("best_ckpt_path", "best_ckpt_path_dict") if hasattr(self, key)}
        best = {key: dict(value) if isinstance(value, dict) else value for key, value in best.items()}
        try:
            super()._save_best_checkpoint(runner, metrics)
        except SaveError as error:
            self.file_backend.pending.clear()
            for key, value in best.items():
                setattr(self, key, value)
            self._handle_failure(runner, runner.iter, info, error)
        self.file_backend.remove_pending()

    def _handle_failure(self, runner: Any, iteration: int, info: Mapping[str, Any], error: SaveError) -> None:
        """Restore the message hub from before the save; log a warning, or raise if too many saves have failed."""
        runner.message_hub.runtime_info.clear()
        runner.message_hub.runtime_info.update(info)
        self.failed_saves += 1
        if self.failed_saves > self.max_failed_saves or iteration >= runner.max_iters:
            raise error
        more = self.max_failed_saves - self.failed_saves
        runner.logger.warning(f"{error} Training goes on; if the next {more + 1} saves fail as well, it stops.")


@HOOKS.register_module()
class EpochCheckpointHook(CheckpointHook):
    """CheckpointHook with an interval in epochs of the training loop (``max_epochs``).

    Files are named by iteration all the same, so that ``--resume`` finds them.

    Args:
        interval: Epochs between checkpoints.
        **options: As CheckpointHook's, except ``by_epoch``.
    """

    def __init__(self, interval: int = 1, **options: Any) -> None:
        super().__init__(interval, by_epoch=False, **options)
        self.epochs = interval

    def before_train(self, runner: Any) -> None:
        """Convert the interval to iterations."""
        self.interval = self.epochs * runner.train_loop.epoch_iters
        super().before_train(runner)


@master_only
def _write_last_checkpoint(runner: Any, path: str) -> None:
    try:
        (Path(runner.work_dir) / "last_checkpoint").write_text(path)
    except OSError as error:  # the checkpoint is complete, and found without this file
        runner.logger.warning(f"{runner.work_dir}/last_checkpoint could not be written: {error.strerror}.")


class DeferredRemoval:
    """A file backend that collects files to remove until :meth:`remove_pending`."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.pending: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        """Collect a file or folder."""
        self.pending.append(path)

    rmtree = remove

    def remove_pending(self) -> None:
        """Remove the collected files."""
        for path in self.pending:
            discard(Path(path))
        self.pending.clear()
