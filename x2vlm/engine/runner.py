"""``build_runner``: from a config of streams and evaluations to MMEngine's runner."""

import copy
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.utils import apply_to
from torch import nn

from x2vlm.building import ConfigError, argument_problems, build
from x2vlm.data.bad_records import BadRecordLog
from x2vlm.data.data_root import with_data_root
from x2vlm.data.streams import build_evaluation_loader, build_streams
from x2vlm.distributed import all_gather_objects, rank, spread_like
from x2vlm.engine.allocator import keep_freed_memory
from x2vlm.engine.checkpoint.integrity import commit, commit_folder, could_not_save, damage, discard, part_of, together
from x2vlm.engine.checkpoint.train_state import checkpoints_in, iterations_of, load_same, newest_whole, recall_fresh
from x2vlm.engine.defaults import complete
from x2vlm.engine.distributed.fsdp import FullySharded, is_sharding
from x2vlm.engine.distributed.launch import init_processes
from x2vlm.engine.hooks.terminal_log import spare_terminal
from x2vlm.engine.required_weights import check_required
from x2vlm.engine.train_loop import MixedTrainLoop
from x2vlm.registry import LOOPS, METRICS, MODEL_WRAPPERS, MODELS, RUNNERS, TOKENIZERS
from x2vlm.weights.load_weights import Loading, Prepared, note_fresh, prepare, put
from x2vlm.weights.sharded_checkpoint import is_in_parts, read_parts, write_parts
from x2vlm.weights.weight_files import CheckpointError, read_checkpoint, state_of, write_plain


@RUNNERS.register_module()
class MixedRunner(Runner):
    """MMEngine's runner with parts built by :func:`x2vlm.build`, and checkpoints that are whole or not there at all.

    Attributes:
        loaded_from: The checkpoint that was loaded; None if none was.
    """

    loaded_from: str | None = None
    _loaded_iters = 0
    _prepared: Prepared | None = None

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that streams, evaluations and model share; None if the config has none."""
        cfg = self.cfg.get("tokenizer")
        return None if cfg is None else build(TOKENIZERS, cfg, "tokenizer")

    @cached_property
    def ledger(self) -> BadRecordLog:
        """The book of bad records; ``bad_records.jsonl`` in the work folder, one file per process."""
        cfg = dict(self.cfg.get("bad_records") or {})
        if problems := argument_problems(BadRecordLog, [*cfg, "file"]):
            raise ConfigError(" ".join(problems), "bad_records")
        name = "bad_records.jsonl" if rank() == 0 else f"bad_records_{rank()}.jsonl"
        return BadRecordLog(Path(self.work_dir) / name, **cfg)

    @property
    def trained_iters(self) -> int:
        """Iterations behind the weights that are in the model now."""
        return self._train_loop.iter if isinstance(self._train_loop, BaseLoop) else self._loaded_iters

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """The log: all of it in the file, what a user wants to see on the terminal."""
        logger = super().build_logger(*args, **kwargs)
        spare_terminal(logger)
        return logger

    def build_model(self, model: nn.Module | Mapping) -> nn.Module:
        """The model; parts that need the tokenizer get it."""
        return build(MODELS, model, "model", tokenizer=self.tokenizer)

    def build_train_loop(self, loop: BaseLoop | Mapping) -> BaseLoop:
        """The training loop with its streams."""
        if isinstance(loop, BaseLoop):
            return loop
        streams = build_streams(self._train_dataloader, self.tokenizer, self.cfg.get("data_root"))
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
        parts = {
            "dataloader": {
                name: build_evaluation_loader(name, cfg, self.tokenizer, self.ledger, self.cfg.get("data_root"))
                for name, cfg in data.items()
            },
            "evaluator": {
                name: _build_metric(name, cfg, self.tokenizer, self.work_dir, self.cfg.get("data_root"))
                for name, cfg in metrics.items()
            },
        }
        return build(LOOPS, loop, f"{mode}_cfg", runner=self, mode=mode, **parts)

    def wrap_model(self, model_wrapper_cfg: Mapping | None, model: nn.Module) -> nn.Module:
        """The model, in a run of several processes in the wrapper that the config names."""
        if not self.distributed or not is_sharding(model_wrapper_cfg):
            return super().wrap_model(model_wrapper_cfg, model)
        if hasattr(model, "init_weights"):
            model.init_weights()  # now: later no process has all of a weight
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
        """Write aside, sync, note the hash, rename: the checkpoint is complete or it is not there.

        Sharded models become a folder, which all processes write together; other ones a file of the first process.

        Raises:
            SaveError: If the disk does not take it; what was there before is untouched.
            NotFiniteError: If the last update is known only now to be bad, and the run is to stop at that.
        """
        if isinstance(self._train_loop, MixedTrainLoop):
            self._train_loop.settle()
        path, sharded = Path(out_dir) / filename, isinstance(self.model, FullySharded)
        if rank() and not sharded:
            return
        content = self._content(dict(meta or {}), save_optimizer, save_param_scheduler)
        try:
            if sharded:
                together(lambda: _empty(part_of(path)) if rank() == 0 else None)
                together(lambda: write_parts(part_of(path), content))
                commit_folder(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_plain(part_of(path), content)
                commit(path)
        except OSError as error:
            raise could_not_save(path, error) from error
        finally:
            if rank() == 0:
                discard(part_of(path))

    def _content(self, meta: dict[str, Any], optimizer: bool, schedulers: bool) -> dict[str, Any]:
        """What a checkpoint holds, under MMEngine's names."""
        meta = {"epoch": self.epoch, "iter": self.iter + 1} | meta
        meta |= {"cfg": self.cfg.pretty_text, "seed": self.seed, "experiment_name": self.experiment_name}
        meta |= {"time": time.strftime("%Y%m%d_%H%M%S"), "mmengine_version": mmengine.__version__}
        meta |= {"dataset_meta": getattr(self.train_dataloader.dataset, "metainfo", {})}
        content = {
            "meta": meta,
            "state_dict": self.inner_model.state_dict(),
            "message_hub": self.message_hub.state_dict(),
        }
        if optimizer:
            content["optimizer"] = self.optim_wrapper.state_dict()
        if schedulers and self.param_schedulers is not None:
            content["param_schedulers"] = [scheduler.state_dict() for scheduler in self.param_schedulers]
        content = apply_to(content, lambda value: hasattr(value, "cpu"), lambda value: value.cpu())
        self.call_hook("before_save_checkpoint", checkpoint=content)
        return content

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """The optimizer; parameters that the checkpoint to start from fills are not new ones."""
        if self._load_from is not None and not self._has_loaded and self._prepared is None:
            if self._resume:
                recall_fresh(self.inner_model, self._load_from)
            else:
                self._prepared = self._prepare(read_checkpoint(self._load_from))
                note_fresh(self.inner_model, self._prepared)
        return super().build_optim_wrapper(optim_wrapper)

    def load_checkpoint(self, filename: str, map_location: Any = "cpu", strict: bool = False, **kwargs: Any) -> dict:
        """Load weights, ours or published ones, and log what became of them.

        When resuming and in tests every parameter must be there and fit. A training run that starts from weights may
        make exceptions by name (``loading`` in the config, see :class:`x2vlm.weights.Loading`).

        Raises:
            CheckpointError: If the file cannot be read or does not fit.
        """
        if self._resume:
            content = self.read_again(filename)
            self.call_hook("after_load_checkpoint", checkpoint=content)
            load_same(self.inner_model, content, filename)
        else:
            content = read_checkpoint(filename)
            prepared = self._prepared or self._prepare(content, strict, filename)
            content = self._spread({**content, "state_dict": prepared.tensors})
            self.call_hook("after_load_checkpoint", checkpoint=content)
            note_fresh(self.inner_model, prepared)
            put(self.inner_model, content["state_dict"])
            self.logger.info(str(prepared.report))
            self._prepared = None
        self._has_loaded = True
        self.loaded_from, self._loaded_iters = str(filename), (content.get("meta") or {}).get("iter", 0)
        return content

    def read_again(self, filename: str | Path) -> dict[str, Any]:
        """The checkpoint of a run, whole or in parts, as this run's model is."""
        if isinstance(self.model, FullySharded) and is_in_parts(filename):
            return read_parts(filename, self.model.mesh)
        return self._spread(read_checkpoint(filename))

    def _spread(self, content: dict[str, Any]) -> dict[str, Any]:
        """A checkpoint's content with weights in parts, where the model's are; the optimizer sees to its own state."""
        if not isinstance(self.model, FullySharded):
            return content
        like = self.inner_model.state_dict()
        for key in ("state_dict", "ema_state_dict"):
            if key in content:
                weights = content[key].items()
                content[key] = {k: spread_like(v, like.get(k.removeprefix("module."), v)) for k, v in weights}
        return content

    def _prepare(self, content: Mapping[str, Any], strict: bool = False, filename: str | None = None) -> Prepared:
        filename, testing = str(filename or self._load_from), self._train_loop is None
        loading = Loading(**(self.cfg.get("loading") or {}))
        return prepare(self.inner_model, state_of(content, filename), loading, filename, complete=strict or testing)

    @property
    def inner_model(self) -> nn.Module:
        """The model without its distributed wrapper."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    @master_only
    def dump_config(self) -> None:
        """Write the config into the work folder; one that is there and says something else stays."""
        name = Path(self.cfg.filename or f"{self.timestamp}.py").with_suffix(".py").name
        target = Path(self.work_dir) / name
        text = self.cfg.pretty_text
        if target.exists() and target.read_text() != text:
            target = target.with_name(f"{target.stem}_{self.timestamp}.py")
        target.write_text(text)


def build_runner(cfg: Config | Mapping[str, Any], mode: str = "train") -> MixedRunner:
    """The runner of a config, ready for ``.train()`` or ``.test()``.

    Args:
        cfg: As ``load_config`` gives it. ``resume`` may be False, True (the latest checkpoint of ``work_dir``, or from
            the beginning if there is none), or a checkpoint. ``load_from`` only gives the weights to start from,
            and ``loading`` says what of them may be missing.
        mode: ``train``: streams, and the evaluations in between. ``test``: only the evaluations, on the weights of
            ``load_from``.

    Raises:
        ConfigError: If a part cannot be built, or the run would overwrite an earlier one.
        FileNotFoundError: If an annotation file is missing.
    """
    cfg = complete(cfg)
    if not torch.cuda.is_available():
        keep_freed_memory()
    init_processes(cfg.launcher, cfg.env_cfg.get("dist_cfg"))
    to_tell: list[str] = []
    if mode == "train":
        to_tell = choose_start(cfg)
        check_required(cfg)
        parts = _training_parts(cfg) | _evaluation_parts(cfg, "val")
    elif mode == "test":
        cfg.resume = False
        parts = _evaluation_parts(cfg, "test")
        if not parts:
            raise ConfigError("there is nothing to test: the config has no evaluations.", "evaluations")
    else:
        raise ValueError(f"mode '{mode}' is not known. Accepted: train, test.")
    common = "work_dir load_from resume launcher env_cfg log_processor log_level visualizer default_scope randomness"
    parts |= {key: cfg[key] for key in [*common.split(), "default_hooks", "custom_hooks", "experiment_name"]}
    runner = MixedRunner(model=cfg.model, cfg=cfg, **copy.deepcopy(parts))
    for sentence in to_tell:
        runner.logger.warning(sentence)
    return runner


def choose_start(cfg: Config) -> list[str]:
    """Set ``resume`` and ``load_from`` to what will be loaded; gives the sentences that the log should have.

    The first process looks for all, so that none reads or renames what another is looking at.

    Raises:
        CheckpointError: If the checkpoint to resume from does not exist or is damaged, or a new run would share an old
            one's folder.
    """
    found: tuple[Any, Any, list[str], str | None] = (None, None, [], None)
    if rank() == 0:
        try:
            found = (*_start(cfg), None)
        except CheckpointError as error:
            found = (None, None, [], str(error))
    cfg.resume, cfg.load_from, to_tell, problem = all_gather_objects(found)[0]
    if problem is not None:
        raise CheckpointError(problem)
    return to_tell


def _start(cfg: Config) -> tuple[bool, str | None, list[str]]:
    there = checkpoints_in(cfg.work_dir)
    to_tell: list[str] = []
    if not cfg.resume:
        if there:
            raise CheckpointError(
                f"{cfg.work_dir} holds the checkpoints of an earlier run ({there[-1].name} is the last). "
                "Go on with it: --resume. Or give this run a folder of its own: --work-dir DIR."
            )
        return False, cfg.load_from, to_tell
    if cfg.resume is True:
        start, to_tell = newest_whole(cfg.work_dir)
        there = checkpoints_in(cfg.work_dir)
    else:
        start = _named(Path(cfg.resume))
    if start is not None and there and start.resolve().parent != Path(cfg.work_dir).resolve():
        raise CheckpointError(
            f"{cfg.work_dir} holds the checkpoints of an earlier run, and {start} is not one of them. "
            "Give this run a folder of its own: --work-dir DIR."
        )
    later = [path.name for path in there if start is not None and iterations_of(path) > iterations_of(start)]
    if later:
        raise CheckpointError(
            f"going on from {start} would overwrite {', '.join(later)} beside it. Move them away, or give this run a "
            "folder of its own: --work-dir DIR."
        )
    return (False, cfg.load_from, to_tell) if start is None else (True, str(start), to_tell)


def _named(start: Path) -> Path:
    """The checkpoint that the user named, if it is in order."""
    if not start.is_file() and not is_in_parts(start):
        raise CheckpointError(f"--resume: there is no checkpoint {start} (looked from {Path.cwd()}).")
    problem = damage(start)
    if problem is not None:
        raise CheckpointError(
            f"--resume: {start} is damaged ({problem}). Name another, or none for the newest whole one."
        )
    return start


def _empty(folder: Path) -> None:
    discard(folder)
    folder.mkdir(parents=True)


def _training_parts(cfg: Config) -> dict[str, Any]:
    for key in ("streams", "train_cfg", "optim_wrapper"):
        if not cfg.get(key):
            raise ConfigError("is missing, and training needs it.", key)
    return {
        "train_dataloader": cfg.streams,
        "train_cfg": cfg.train_cfg,
        "optim_wrapper": cfg.optim_wrapper,
        "param_scheduler": cfg.get("param_scheduler"),
    }


def _evaluation_parts(cfg: Config, mode: str) -> dict[str, Any]:
    evaluations = cfg.get("evaluations") or {}
    if not evaluations:
        return {}
    return {
        f"{mode}_cfg": cfg[f"{mode}_cfg"],
        f"{mode}_dataloader": {
            name: {k: v for k, v in one.items() if k != "metric"} for name, one in evaluations.items()
        },
        f"{mode}_evaluator": {name: one.get("metric") for name, one in evaluations.items()},
    }


def _build_metric(
    name: str, cfg: Any, tokenizer: Any = None, work_dir: str | None = None, data_root: str | None = None
) -> Any:
    path = f"evaluations.{name}.metric"
    if cfg is None:
        raise ConfigError("no metric says what to measure: metric=dict(type=...).", path)
    cfg = with_data_root(cfg, data_root, METRICS)
    metric = build(METRICS, cfg, path, tokenizer=tokenizer, work_dir=work_dir)
    if not hasattr(metric, "evaluate"):
        raise ConfigError(f"{type(metric).__name__} has no evaluate(model, loader).", path)
    return metric
