"""``gallery``: encode a gallery of any size into a folder, search it with words, measure recalls on it.

Every step goes on where a killed one ended: give the same command again. torchrun shares the work between processes.
"""

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError, build, suggestion
from x2vlm.commands.outcome import Outcome, leave_processes
from x2vlm.config import add_cfg_options, load_config

FORMAT = 1
_names = count(1)


def main(argv: Sequence[str] | None = None) -> int:
    """Encode, search, or measure; returns the exit status.

    0: done. 1: stopped by an error. 2: not started, because of the config, the checkpoint, the data or the folder.
    """
    args = _parse(argv)
    outcome = Outcome()
    with contextlib.redirect_stdout(sys.stderr):  # the log is no result
        session = outcome.runner = outcome.prepare(lambda: Session(args))
        work = outcome.prepare(lambda: {"encode": Encode, "recall": Recall, "search": Search}[args.step](session))
        shown = outcome.run(lambda: work())
    if session is not None:
        if shown and session.is_first:
            sys.stdout.write(shown)
        leave_processes()
    return outcome.status


class Session:
    """What all steps need: the model with its weights, the data of one evaluation, and the folder.

    Args:
        args: The command line.

    Raises:
        ConfigError: If the config or the checkpoint does not do.
        FileNotFoundError: If a file is missing.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        cfg = load_config(args.config, args.cfg_options)
        from mmengine.device import get_device
        from mmengine.logging import MMLogger

        from x2vlm.distributed import rank
        from x2vlm.engine.defaults import complete
        from x2vlm.engine.optim.optim_wrapper import autocast
        from x2vlm.engine.runner import init_processes
        from x2vlm.gallery.encode_gallery import Storing
        from x2vlm.inference.trained_model import load_weights
        from x2vlm.registry import MODELS, TOKENIZERS

        self.args, self.folder = args, Path(args.folder)
        self.cfg = cfg = complete(cfg)
        self.name = _evaluation(cfg, args.evaluation)
        init_processes(cfg.launcher)
        self.is_first = rank() == 0
        self.storing = _storing(Storing, cfg.get("gallery") or {})
        self.tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer") if cfg.get("tokenizer") else None
        model = build(MODELS, cfg.model, "model", tokenizer=self.tokenizer)
        if getattr(model, "vision_proj", None) is None and getattr(model, "text_proj", None) is None:
            raise ConfigError("a gallery is of features, but this model has none (embed_dim=None).", "model")
        load_weights(model, args.checkpoint)
        self.device = get_device()
        self.model = model.to(self.device).eval()
        self.precision = cfg.test_cfg.get("precision", "fp32")
        self.computing = partial(autocast, self.precision, next(self.model.parameters()).device)
        self.data = self._data()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = str(self.folder / f"{args.step}.log")
        # MMEngine's loggers are global by name, and messages go to the one that was made last.
        self.logger = MMLogger.get_instance(
            f"gallery-{next(_names)}", logger_name="x2vlm", log_file=file, file_mode="a"
        )

    def _data(self) -> Any:
        from x2vlm.data.bad_records import BadRecordLog
        from x2vlm.data.data_root import with_data_root
        from x2vlm.distributed import rank
        from x2vlm.gallery.gallery_dataset import GalleryData
        from x2vlm.registry import DATASETS, TRANSFORMS

        one, path = self.cfg.evaluations[self.name], f"evaluations.{self.name}"
        dataset = build(DATASETS, with_data_root(one["dataset"], self.cfg.get("data_root")), f"{path}.dataset")
        collate = build(
            TRANSFORMS, one.get("collate", {"type": "PairCollate"}), f"{path}.collate", tokenizer=self.tokenizer
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        book = "bad_records.jsonl" if rank() == 0 else f"bad_records_{rank()}.jsonl"
        ledger = BadRecordLog(self.folder / book, **dict(self.cfg.get("bad_records") or {}))
        return GalleryData(self.name, dataset, collate, one["batch_size"], one.get("num_workers", 0), ledger)

    @property
    def parts(self) -> int:
        """How many parts the gallery has."""
        from x2vlm.gallery.encode_gallery import part_ranges

        return len(part_ranges(len(self.data.dataset), self.data.batch_size, self.storing))

    def facts(self) -> dict[str, Any]:
        """What the content of the folder depends on."""
        from x2vlm.engine.checkpoint.integrity import digest

        one = self.cfg.evaluations[self.name]
        asked = {key: self.cfg.get(key) for key in ("model", "tokenizer", "data_root")}
        asked |= {key: one.get(key) for key in ("dataset", "collate")}
        return {
            "format": FORMAT,
            "evaluation": self.name,
            "checkpoint_sha256": digest(Path(self.args.checkpoint)),
            "config_sha256": hashlib.sha256(_text(asked).encode()).hexdigest(),
            "precision": self.precision,
            "records": len(self.data.dataset),
            "batch_size": self.data.batch_size,
            **asdict(self.storing),
        }

    def gallery(self) -> Any:
        """The finished gallery of the folder.

        Raises:
            ConfigError: If there is none, it is not complete, or it is of another model or other data.
        """
        from x2vlm.gallery.resumable import agree
        from x2vlm.gallery.stored_gallery import StoredGallery, read_facts

        read_facts(self.folder)
        agree(self.folder / "gallery.json", self.facts(), "a gallery")
        return StoredGallery(self.folder, self.parts)


class Encode:
    """Write the parts that are missing."""

    def __init__(self, session: Session) -> None:
        from x2vlm.gallery.resumable import agree

        self.session = session
        agree(session.folder / "gallery.json", session.facts(), "a gallery")

    def __call__(self) -> str:
        """Encode; a line on what there is now."""
        from x2vlm.gallery.encode_gallery import encode_gallery

        session = self.session
        with session.computing():
            encode_gallery(session.model, session.data, session.folder, session.storing)
        gallery = session.gallery()
        return f"{session.folder}: {len(gallery.context_ids)} contexts and {len(gallery.text_ids)} texts\n"


class Recall:
    """The figures of the evaluation's ``RetrievalMetric``."""

    def __init__(self, session: Session) -> None:
        self.session, self.gallery = session, session.gallery()
        self.metric = _metric(session)
        if not len(self.gallery.text_ids):
            raise ConfigError(f"{session.folder} has no texts, so there is nothing to measure. Search it instead.")

    def __call__(self) -> str:
        """Measure; the table."""
        from x2vlm.commands.test import table
        from x2vlm.gallery.rerank import gallery_scorer

        session = self.session
        score = gallery_scorer(session.model, session.data, self.gallery, session.folder / "scores", self.metric.chunk)
        with session.computing():
            results = self.metric.judge_stored(self.gallery, score, session.device)
        return table({f"{session.name}/{key}": value for key, value in results.items()})


class Search:
    """The nearest contexts of some texts."""

    def __init__(self, session: Session) -> None:
        self.session, self.gallery = session, session.gallery()
        self.metric = _metric(session)
        self.queries = _queries(session.args)

    def __call__(self) -> str:
        """Search; a line of JSON for each query."""
        from x2vlm.inference.search_gallery import search_texts

        session, args = self.session, self.session.args
        with session.computing():
            found = search_texts(
                session.model, session.data, self.gallery, self.queries, args.k, self.metric, session.folder / "scores"
            )
        lines = [
            json.dumps({"query": query, "found": [asdict(one) for one in some]}, ensure_ascii=False)
            for query, some in zip(self.queries, found, strict=True)
        ]
        return "".join(f"{line}\n" for line in lines)


def _storing(kind: type, given: Mapping[str, Any]) -> Any:
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), "gallery") from error


def _text(parts: Mapping[str, Any]) -> str:
    from mmengine.config import Config

    return Config({key: value for key, value in parts.items() if value is not None}).pretty_text


def _evaluation(cfg: Any, name: str | None) -> str:
    """The evaluation that is named, or the first that measures retrieval."""
    there = cfg.get("evaluations") or {}
    if name is None:
        fitting = [key for key, one in there.items() if _is_retrieval(one.get("metric"))]
        if not fitting:
            raise ConfigError("no evaluation has a RetrievalMetric. Name one: --evaluation NAME.", "evaluations")
        return fitting[0]
    if name not in there:
        known = ", ".join(there) or "none"
        raise ConfigError(f"there is no '{name}'.{suggestion(name, there)} There are: {known}.", "evaluations")
    return name


def _is_retrieval(metric: Any) -> bool:
    type_ = metric.get("type") if isinstance(metric, Mapping) else None
    return str(type_).rpartition(".")[2] == "RetrievalMetric" or getattr(type_, "__name__", "") == "RetrievalMetric"


def _metric(session: Session) -> Any:
    from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
    from x2vlm.registry import METRICS

    path = f"evaluations.{session.name}.metric"
    metric = build(METRICS, session.cfg.evaluations[session.name].get("metric"), path)
    if not isinstance(metric, RetrievalMetric):
        raise ConfigError(f"a gallery is searched as a RetrievalMetric says, not {type(metric).__name__}.", path)
    if metric.rerank and "itm" not in session.model.objectives:
        raise ConfigError("scores pairs with objective 'itm', which this model lacks. Set rerank=False.", path)
    return metric


def _queries(args: argparse.Namespace) -> list[str]:
    queries = list(args.text or [])
    if args.texts:
        queries += [line for line in Path(args.texts).read_text(encoding="utf-8").splitlines() if line.strip()]
    if not queries:
        raise ConfigError('there is nothing to search for: give --text "words", or --texts FILE with one text a line.')
    return queries


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="x2vlm gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    said = {
        "encode": "write features (and tokens, as `gallery` of the config says) of an evaluation's data set",
        "recall": "the figures of its RetrievalMetric, from what was written",
        "search": "the contexts that fit some texts best; a line of JSON for each text",
    }
    for step, does in said.items():
        one = steps.add_parser(step, help=does, description=does)
        one.add_argument("config", help="config file")
        one.add_argument("checkpoint", help="checkpoint file")
        one.add_argument("folder", help="of the gallery; all processes must see it")
        one.add_argument("--evaluation", metavar="NAME", help="whose data set (default: the first that is retrieval)")
        if step == "search":
            one.add_argument("--text", action="append", metavar="WORDS", help="what to search for; may be repeated")
            one.add_argument("--texts", metavar="FILE", help="a file with one text a line")
            one.add_argument("--k", type=_count, default=5, metavar="N", help="contexts to tell (default: 5)")
        add_cfg_options(one)
    return parser.parse_args(argv)


def _count(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is no count from 1")
    return number
