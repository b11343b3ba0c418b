"""``gallery``: encode a gallery of any size into a folder, search it with texts, compute recalls on it.

Every step resumes where a killed one ended: run the same command again. torchrun shares the work between processes.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from x2vlm.building import ConfigError
from x2vlm.commands.shared.gallery_session import GallerySession
from x2vlm.commands.shared.outcome import Outcome, leave_processes
from x2vlm.config import add_cfg_options


def main(argv: Sequence[str] | None = None) -> int:
    """Encode, search, or compute recalls; returns the exit status.

    0: done. 1: stopped by an error. 2: not started, because of the config, the checkpoint, the data or the folder.
    """
    args = _parse(argv)
    outcome = Outcome()
    with contextlib.redirect_stdout(sys.stderr):  # log lines are not part of the output
        session = outcome.runner = outcome.prepare(lambda: GallerySession(args))
        step = outcome.prepare(lambda: {"encode": Encode, "recall": Recall, "search": Search}[args.step](session))
        output = outcome.run(lambda: step())
    if session is not None:
        if output and session.is_first:
            sys.stdout.write(output)
        leave_processes()
    return outcome.status


class Encode:
    """Write the missing shards."""

    def __init__(self, session: GallerySession) -> None:
        self.session = session
        session.check_facts()

    def __call__(self) -> str:
        """Encode; returns a line with the size of the gallery."""
        from x2vlm.gallery.encode_to_disk import encode_gallery

        session = self.session
        with session.autocast():
            encode_gallery(session.model, session.data, session.folder, session.storage)
        gallery = session.gallery()
        return f"{session.folder}: {len(gallery.context_ids)} contexts and {len(gallery.text_ids)} texts\n"


class Recall:
    """The metrics of the evaluation's ``RetrievalMetric``."""

    def __init__(self, session: GallerySession) -> None:
        self.session, self.gallery = session, session.gallery()
        self.metric = session.metric()
        if not len(self.gallery.text_ids):
            raise ConfigError(f"{session.folder} has no texts, so there is nothing to measure. Search it instead.")

    def __call__(self) -> str:
        """Compute the metrics; returns them as a table."""
        from x2vlm.commands.test import format_metrics
        from x2vlm.gallery.reranking.rerank_jobs import gallery_scorer

        session = self.session
        score = gallery_scorer(session.model, session.data, self.gallery, session.folder / "scores", self.metric.chunk)
        with session.autocast():
            results = self.metric.evaluate_stored(self.gallery, score, session.device)
        return format_metrics({f"{session.name}/{key}": value for key, value in results.items()})


class Search:
    """The best contexts for some texts."""

    def __init__(self, session: GallerySession) -> None:
        self.session, self.gallery = session, session.gallery()
        self.metric = session.metric()
        self.queries = _queries(session.args)

    def __call__(self) -> str:
        """Search; returns a line of JSON for each query."""
        from x2vlm.inference.search_gallery import search_texts

        session, args = self.session, self.session.args
        with session.autocast():
            results = search_texts(
                session.model, session.data, self.gallery, self.queries, args.k, self.metric, session.folder / "scores"
            )
        lines = [
            json.dumps({"query": query, "found": [asdict(context) for context in contexts]}, ensure_ascii=False)
            for query, contexts in zip(self.queries, results, strict=True)
        ]
        return "".join(f"{line}\n" for line in lines)


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
    descriptions = {
        "encode": "write features (and tokens, as `gallery` of the config says) of an evaluation's data set",
        "recall": "the metrics of its RetrievalMetric, from the encoded gallery",
        "search": "the best contexts for some texts; a line of JSON for each text",
    }
    for step, description in descriptions.items():
        subparser = steps.add_parser(step, help=description, description=description)
        subparser.add_argument("config", help="config file")
        subparser.add_argument("checkpoint", help="checkpoint file")
        subparser.add_argument("folder", help="of the gallery; all processes must see it")
        subparser.add_argument(
            "--evaluation", metavar="NAME", help="whose data set (default: the first with a RetrievalMetric)"
        )
        if step == "search":
            subparser.add_argument("--text", action="append", metavar="WORDS", help="a query; may be repeated")
            subparser.add_argument("--texts", metavar="FILE", help="a file with one query a line")
            subparser.add_argument("--k", type=_count, default=5, metavar="N", help="results per query (default: 5)")
        add_cfg_options(subparser)
    return parser.parse_args(argv)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no count from 1")
    return number
