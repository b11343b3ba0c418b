"""What all steps of ``gallery`` share: the model with its weights, the data set of one evaluation, and the folder."""

import argparse
from collections.abc import Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError, build, suggestion
from x2vlm.config import load_config

_names = count(1)


class GallerySession:
    """A model, the data set of an evaluation and the folder of a gallery, built from the command line.

    Args:
        args: The command line.

    Raises:
        ConfigError: If the config or the checkpoint is invalid.
        FileNotFoundError: If a file is missing.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        cfg = load_config(args.config, args.cfg_options)
        from mmengine.device import get_device
        from mmengine.logging import MMLogger

        from x2vlm.data.io.paths import check_output_folder
        from x2vlm.distributed import rank
        from x2vlm.engine.defaults import fill_defaults
        from x2vlm.engine.distributed.launch import init_processes
        from x2vlm.engine.optim.autocast import autocast
        from x2vlm.registry import MODELS, TOKENIZERS
        from x2vlm.weights import load_into

        self.args, self.folder = args, Path(args.folder)
        check_output_folder(self.folder, "folder")
        self.cfg = cfg = fill_defaults(cfg)
        self.name = _evaluation(cfg, args.evaluation)
        init_processes(cfg.launcher)
        self.is_first = rank() == 0
        self.storage = _storage(cfg.get("gallery") or {})
        self.tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer") if cfg.get("tokenizer") else None
        model = build(MODELS, cfg.model, "model", tokenizer=self.tokenizer)
        if getattr(model, "vision_proj", None) is None and getattr(model, "text_proj", None) is None:
            raise ConfigError("a gallery is of features, but this model has none (embed_dim=None).", "model")
        load_into(model, args.checkpoint, complete=True)
        self.device = get_device()
        self.model = model.to(self.device).eval()
        self.precision = cfg.test_cfg.get("precision", "fp32")
        self.autocast = partial(autocast, self.precision, next(self.model.parameters()).device)
        self.data = self._data()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = str(self.folder / f"{args.step}.log")
        # MMEngine's loggers are global by name, and messages go to the one that was made last.
        self.logger = MMLogger.get_instance(
            f"gallery-{next(_names)}", logger_name="x2vlm", log_file=file, file_mode="a"
        )

    def _data(self) -> Any:
        from x2vlm.data.bad_record_log import BadRecordLog
        from x2vlm.data.data_root import with_data_root
        from x2vlm.distributed import rank
        from x2vlm.gallery.gallery_dataset import GalleryData
        from x2vlm.registry import DATASETS, TRANSFORMS

        evaluation, path = self.cfg.evaluations[self.name], f"evaluations.{self.name}"
        dataset = build(DATASETS, with_data_root(evaluation["dataset"], self.cfg.get("data_root")), f"{path}.dataset")
        collate_cfg = evaluation.get("collate", {"type": "PairCollate"})
        collate = build(TRANSFORMS, collate_cfg, f"{path}.collate", tokenizer=self.tokenizer)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = "bad_records.jsonl" if rank() == 0 else f"bad_records_{rank()}.jsonl"
        log = BadRecordLog(self.folder / file, **dict(self.cfg.get("bad_records") or {}))
        return GalleryData(self.name, dataset, collate, evaluation["batch_size"], evaluation.get("num_workers", 0), log)

    @property
    def num_shards(self) -> int:
        """How many shards the gallery has."""
        from x2vlm.gallery.gallery_layout import shard_ranges

        return len(shard_ranges(len(self.data.dataset), self.data.batch_size, self.storage))

    def check_facts(self) -> None:
        """Write ``gallery.json``, or compare it.

        Raises:
            ConfigError: If the folder holds a gallery of another model or other data.
        """
        from x2vlm.gallery.gallery_facts import check_gallery_facts, gallery_facts

        records = len(self.data.dataset)
        facts = gallery_facts(self.cfg, self.name, Path(self.args.checkpoint), records, self.storage)
        check_gallery_facts(self.folder, facts)

    def gallery(self) -> Any:
        """The complete gallery of the folder.

        Raises:
            ConfigError: If there is none, it is not complete, or it is of another model or other data.
        """
        from x2vlm.gallery.gallery_facts import read_gallery_facts
        from x2vlm.gallery.stored_gallery import StoredGallery

        read_gallery_facts(self.folder)
        self.check_facts()
        return StoredGallery(self.folder, self.num_shards)

    def metric(self) -> Any:
        """The ``RetrievalMetric`` of the evaluation.

        Raises:
            ConfigError: If the evaluation has another metric, or the model lacks what it needs.
        """
        from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
        from x2vlm.registry import METRICS

        path = f"evaluations.{self.name}.metric"
        metric = build(METRICS, self.cfg.evaluations[self.name].get("metric"), path)
        if not isinstance(metric, RetrievalMetric):
            raise ConfigError(f"a gallery is searched as a RetrievalMetric says, not {type(metric).__name__}.", path)
        if metric.rerank and "itm" not in self.model.objectives:
            raise ConfigError("scores pairs with objective 'itm', which this model lacks. Set rerank=False.", path)
        return metric


def _storage(options: Mapping[str, Any]) -> Any:
    from x2vlm.gallery.gallery_layout import GalleryStorage

    try:
        return GalleryStorage(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), "gallery") from error


def _evaluation(cfg: Any, name: str | None) -> str:
    """Evaluation ``name``, or the first with a ``RetrievalMetric``."""
    evaluations = cfg.get("evaluations") or {}
    if name is None:
        fitting = [key for key, evaluation in evaluations.items() if _is_retrieval(evaluation.get("metric"))]
        if not fitting:
            raise ConfigError("no evaluation has a RetrievalMetric. Name one: --evaluation NAME.", "evaluations")
        return fitting[0]
    if name not in evaluations:
        message = f"there is no '{name}'.{suggestion(name, evaluations)} There are: {', '.join(evaluations) or 'none'}."
        raise ConfigError(message, "evaluations")
    return name


def _is_retrieval(metric: Any) -> bool:
    type_ = metric.get("type") if isinstance(metric, Mapping) else None
    return str(type_).rpartition(".")[2] == "RetrievalMetric" or getattr(type_, "__name__", "") == "RetrievalMetric"
