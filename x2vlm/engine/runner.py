"""The runner: builds model, streams and evaluations of a run; saves and loads its checkpoints."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, Runner
from torch import nn

from x2vlm.building import ConfigError, argument_problems, build, called
from x2vlm.config_to_python import config_text
from x2vlm.data.bad_record_log import BadRecordLog
from x2vlm.data.streams import build_evaluation_loader, build_streams
from x2vlm.distributed import rank
from x2vlm.engine.checkpoint.atomic_save import write_checkpoint
from x2vlm.engine.checkpoint.checkpoint_content import checkpoint_content
from x2vlm.engine.checkpoint.restore import (
    load_strictly,
    read_run,
    refuse_average,
    restore_fresh_parameters,
    shard_weights,
)
from x2vlm.engine.checkpoint.work_dir_lock import release
from x2vlm.engine.distributed.fsdp import FullySharded, is_fsdp_config
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.engine.eval_loop import build_metric
from x2vlm.engine.failures.data_fit import check_data_fit
from x2vlm.engine.hooks.terminal_log import filter_terminal_log
from x2vlm.engine.metric_contract import check_calls
from x2vlm.engine.optim.optimizer_state import in_own_order
from x2vlm.engine.train_loop import MixedTrainLoop
from x2vlm.registry import LOOPS, MODEL_WRAPPERS, MODELS, RUNNERS, TOKENIZERS
from x2vlm.weights.load_weights import Loading, Prepared, note_fresh, prepare, put
from x2vlm.weights.read_weights import read_checkpoint, state_of


@RUNNERS.register_module()
class MixedRunner(Runner):
    """MMEngine's runner with components built by :func:`x2vlm.build`, and atomic checkpoints.

    Attributes:
        loaded_from: The checkpoint that was loaded; None if none was.
        has_begun: Whether all is built and loaded, so that what fails now is the work itself.
    """

    has_begun = False

    loaded_from: str | None = None
    _loaded_iters = 0
    _prepared: Prepared | None = None

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of streams, evaluations and model; None if the config has none."""
        cfg = self.cfg.get("tokenizer")
        return None if cfg is None else build(TOKENIZERS, cfg, "tokenizer")

    @cached_property
    def bad_record_log(self) -> BadRecordLog:
        """The log of bad records, ``bad_records.jsonl`` in the work folder; other ranks have files of their own."""
        cfg = dict(self.cfg.get("bad_records") or {})
        if problems := argument_problems(BadRecordLog, [*cfg, "file"]):
            raise ConfigError(" ".join(problems), "bad_records")
        name = "bad_records.jsonl" if rank() == 0 else f"bad_records_{rank()}.jsonl"
        return BadRecordLog(Path(self.work_dir) / name, **cfg)

    @property
    def trained_iters(self) -> int:
        """Iterations that the current weights were trained for."""
        return self._train_loop.iter if isinstance(self._train_loop, BaseLoop) else self._loaded_iters

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """The logger: everything goes to the log file, but long listings not to the terminal."""
        logger = super().build_logger(*args, **kwargs)
        filter_terminal_log(logger)
        return logger

    def build_model(self, model: nn.Module | Mapping) -> nn.Module:
        """The model; components that take a tokenizer get it."""
        return build(MODELS, model, "model", tokenizer=self.tokenizer)

    def set_randomness(self, seed: int | None, **options: Any) -> None:
        """Seed the random numbers."""
        try:
            super().set_randomness(seed, **options)
        except ValueError as error:  # numpy's, which does not say which seed
            raise ConfigError(
                f"is {seed}; expected a whole number from 0 to {2**32 - 1}.", "randomness.seed"
            ) from error

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        """Add a hook; one that its constructor refuses is an error of the config."""
        with _naming_refusals(hook, self._path_of_hook(hook)):
            super().register_hook(hook, priority)

    def _path_of_hook(self, hook: Any) -> str:
        named = {f"default_hooks.{name}": cfg for name, cfg in (self.cfg.get("default_hooks") or {}).items()}
        listed = {f"custom_hooks[{index}]": cfg for index, cfg in enumerate(self.cfg.get("custom_hooks") or ())}
        return next((path for path, cfg in (named | listed).items() if cfg == hook), "hooks")

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """The schedules; one that its constructor refuses is an error of the config."""
        with _naming_refusals(scheduler, "param_scheduler"):
            return super().build_param_scheduler(scheduler)

    def load_or_resume(self) -> None:
        """Load the checkpoint of the config, the last thing before the work begins."""
        super().load_or_resume()
        self.has_begun = True

    def train(self) -> nn.Module:
        """Train to the end; then others may train in the work folder."""
        try:
            return super().train()
        finally:
            release(self.work_dir)

    def build_train_loop(self, loop: BaseLoop | Mapping) -> BaseLoop:
        """The training loop with its streams."""
        if isinstance(loop, BaseLoop):
            return loop
        streams = build_streams(self._train_dataloader, self.tokenizer, self.cfg.get("data_root"))
        for name, stream in streams.items():
            check_data_fit(self.model, f"streams.{name}", stream.dataset, stream.collate, stream.objectives)
        return build(LOOPS, loop, "train_cfg", runner=self, dataloader=streams)

    def build_val_loop(self, loop: BaseLoop | Mapping) -> BaseLoop:
        """The evaluations during training."""
        return self._build_evaluations(loop, "val", self._val_dataloader, self._val_evaluator)

    def build_test_loop(self, loop: BaseLoop | Mapping) -> BaseLoop:
        """The evaluations alone."""
        return self._build_evaluations(loop, "test", self._test_dataloader, self._test_evaluator)

    def _build_evaluations(self, loop: BaseLoop | Mapping, mode: str, data: Mapping, metrics: Mapping) -> BaseLoop:
        if isinstance(loop, BaseLoop):
            return loop
        data_root = self.cfg.get("data_root")
        loaders = {
            name: build_evaluation_loader(name, cfg, self.tokenizer, self.bad_record_log, data_root)
            for name, cfg in data.items()
        }
        for name, loader in loaders.items():
            check_data_fit(self.model, f"evaluations.{name}", loader.dataset, loader.collate)
        metrics = {
            name: build_metric(name, cfg, self.tokenizer, self.work_dir, data_root) for name, cfg in metrics.items()
        }
        for name, metric in metrics.items():
            check_calls(metric, unwrap_model(self.model), f"evaluations.{name}.metric")
        return build(LOOPS, loop, f"{mode}_cfg", runner=self, mode=mode, dataloader=loaders, evaluator=metrics)

    def wrap_model(self, model_wrapper_cfg: Mapping | None, model: nn.Module) -> nn.Module:
        """The model; in a run of several processes inside the wrapper of the config."""
        if not self.distributed or not is_fsdp_config(model_wrapper_cfg):
            return super().wrap_model(model_wrapper_cfg, model)
        if hasattr(model, "init_weights"):
            model.init_weights()  # before sharding, after which no process holds a full weight
        return build(MODEL_WRAPPERS, model_wrapper_cfg, "model_wrapper_cfg", module=model)

    def _init_model_weights(self) -> None:
        if not isinstance(self.model, FullySharded):
            super()._init_model_weights()

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: Any = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Write a checkpoint atomically, with its hash.

        Sharded models become a folder, which all processes write together; other models a file, written by rank 0.

        Raises:
            SaveError: If the disk does not take it; the checkpoint that was there before is unchanged.
            NotFiniteError: If the deferred NaN check finds the last update bad, and the run is to stop at that.
        """
        if isinstance(self._train_loop, MixedTrainLoop):
            self._train_loop.read_deferred_check()
        sharded = isinstance(self.model, FullySharded)
        if rank() and not sharded:
            return
        content = checkpoint_content(self, dict(meta or {}), save_optimizer, save_param_scheduler)
        write_checkpoint(Path(out_dir) / filename, content, sharded)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """The optimizer wrapper; which parameters are fresh follows from the checkpoint that will be loaded."""
        if self._load_from is not None and not self._has_loaded and self._prepared is None:
            if self._resume:
                restore_fresh_parameters(self._inner_model, self._load_from)
            else:
                self._prepared = self._prepare(read_checkpoint(self._load_from))
                note_fresh(self._inner_model, self._prepared)
        return super().build_optim_wrapper(optim_wrapper)

    def load_checkpoint(self, filename: str, map_location: Any = "cpu", strict: bool = False, **kwargs: Any) -> dict:
        """Load weights, of this library or published ones, and log a report.

        When resuming and when testing every parameter must be present with its shape. For a training run that starts
        from weights, ``loading`` in the config lists exceptions by name, see :class:`x2vlm.weights.Loading`.

        Raises:
            CheckpointError: If the file cannot be read or does not fit.
        """
        if self._resume:
            content = read_run(filename, self.model)
            self.call_hook("after_load_checkpoint", checkpoint=content)
            load_strictly(self._inner_model, content, filename)
            if not any(isinstance(hook, EMAHook) for hook in self.hooks):
                refuse_average(content, filename)
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            content = in_own_order(content, self._inner_model, self.optim_wrapper.optimizer, filename)
        else:
            content = read_checkpoint(filename)
            prepared = self._prepared or self._prepare(content, strict, filename)
            content = shard_weights({**content, "state_dict": prepared.tensors}, self.model)
            self.call_hook("after_load_checkpoint", checkpoint=content)
            note_fresh(self._inner_model, prepared)
            put(self._inner_model, content["state_dict"])
            self.logger.info(str(prepared.report))
            self._prepared = None
        self._has_loaded = True
        self.loaded_from, self._loaded_iters = str(filename), (content.get("meta") or {}).get("iter", 0)
        return content

    def _prepare(self, content: Mapping[str, Any], strict: bool = False, filename: str | None = None) -> Prepared:
        filename, testing = str(filename or self._load_from), self._train_loop is None
        loading = Loading(**(self.cfg.get("loading") or {}))
        return prepare(self._inner_model, state_of(content, filename), loading, filename, complete=strict or testing)

    @property
    def _inner_model(self) -> nn.Module:
        return unwrap_model(self.model)

    @master_only
    def dump_config(self) -> None:
        """Write the config into the work folder, under another name where an earlier one differs."""
        name = Path(self.cfg.filename or f"{self.timestamp}.py").with_suffix(".py").name
        target = Path(self.work_dir) / name
        text = config_text(self.cfg)
        if target.exists() and target.read_text() != text:
            target = target.with_name(f"{target.stem}_{self.timestamp}.py")
        target.write_text(text)


@contextmanager
def _naming_refusals(part: Any, path: str) -> Iterator[None]:
    """Around MMEngine's building of a part: what its constructor refuses is said with its place in the config."""
    try:
        yield
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        title = called(part["type"]) if isinstance(part, Mapping) and "type" in part else "it"
        raise ConfigError(f"{title} could not be built: {error}", path) from error
