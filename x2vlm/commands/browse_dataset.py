"""``browse-dataset``: a page (or a contact sheet) of records, as the annotations have them and as training sees them.

A wrong box convention, a mirrored "left", a caption of another image: what no count finds, one sees.
"""

import argparse
import base64
import html
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x2vlm.building import ConfigError
from x2vlm.commands.shared.dataset_sources import HELP, DatasetSource, add_source_options, open_sources

if TYPE_CHECKING:
    import numpy as np

    from x2vlm.data.inspection.draw_record import Drawing

PAGES = (".html", ".htm")
SHEETS = (".png", ".jpg", ".jpeg")
_THUMB = 384  # pixels of the longer side on a page
_CELL = 256  # pixels of a cell of a sheet
_STYLE = (
    "body{font:14px sans-serif;margin:1em}section{border-top:1px solid #ccc;padding:.6em 0}"
    "h1{font-size:20px}h1,h2,li{overflow-wrap:anywhere}h2{font-size:14px;margin:.2em 0}h3{font-size:13px;margin:.4em 0}"
    ".two{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1em}.bad{color:#b00020}"
    "img{max-width:100%;margin:2px}li{margin:.1em 0}@media(max-width:700px){.two{grid-template-columns:1fr}}"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit status: 2 if nothing can be read."""
    args = _parse(argv)
    out = Path(args.out)
    if out.suffix.lower() not in PAGES + SHEETS:
        raise ConfigError(f"--out {out}: expected a page ({', '.join(PAGES)}) or a sheet ({', '.join(SHEETS)})")
    from x2vlm.data.io.paths import check_output_folder  # slow to import

    check_output_folder(out.parent, "--out")
    try:
        sources = open_sources(args.source, args.cfg_options, args.stream, pipelines=True)
    except (ConfigError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    shown = [(source.name, entry) for source in sources for entry in _entries(source, args)]
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() in PAGES:
        out.write_text(page(shown, args.source), encoding="utf-8")
    else:
        contact_sheet([entry["annotated"] for _, entry in shown if entry["annotated"]]).save(out)
    sys.stdout.write(f"{out}: {len(shown)} records of {', '.join(source.name for source in sources)}\n")
    return 0


def _entries(source: DatasetSource, args: argparse.Namespace) -> list[dict[str, Any]]:
    import random

    total = len(source.adapter)
    if args.shuffle:
        chosen = sorted(random.Random(args.seed).sample(range(total), min(args.number, total)))
    else:
        chosen = list(range(args.start, min(args.start + args.number, total)))
    return [entry_of(source.adapter, index, args.seed, args.patch) for index in chosen]


def entry_of(adapter: Any, index: int, seed: int = 0, patch_size: int = 16) -> dict[str, Any]:
    """One record: ``where``, ``annotated`` and ``trained`` drawings (None where there is none), and ``problem``.

    Args:
        adapter: The data set, with the pipeline of training if it has one.
        index: The record.
        seed: Of what the pipeline draws at random.
        patch_size: Side of a patch in pixels.
    """
    from x2vlm.data.batch import Sample
    from x2vlm.data.inspection.draw_record import draw_annotations, draw_sample
    from x2vlm.data.record import RecordError
    from x2vlm.data.sampler import derive_seed, seeded

    entry: dict[str, Any] = {"where": f"record {index}", "annotated": None, "trained": None, "problem": None}
    try:
        record = adapter.record(index)
        entry["where"] = f"{record['where']} (id {record['id']})"
        entry["annotated"] = draw_annotations(record)
        with seeded(derive_seed(seed, "browse", index)):
            result = adapter[index]
        levels = _levels(adapter)
        if isinstance(result, Sample) and levels is not None:
            entry["trained"] = draw_sample(result, levels, patch_size)
    except RecordError as error:
        entry["problem"] = str(error)
    return entry


def _levels(adapter: Any) -> "np.ndarray | None":
    """What the last transform of the pipeline makes of each level of a channel."""
    steps = [*getattr(adapter, "pipeline", ())]
    inner = [step for one in getattr(adapter, "datasets", ()) for step in one.pipeline]
    return next((step.values for step in reversed([*inner, *steps]) if hasattr(step, "values")), None)


def page(shown: Sequence[tuple[str, dict[str, Any]]], title: str) -> str:
    """A page that needs nothing beside it: every image is in it."""
    sections = "\n".join(_section(name, entry) for name, entry in shown)
    head = (
        f"<meta charset=utf-8><meta name=viewport content=width=device-width><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style>"
    )
    return (
        f"<!doctype html><html lang=en>{head}<h1>{html.escape(title)}</h1>\n"
        "<p>The annotations, and what training is given of them: patches that no region reads are dark.</p>\n"
        f"{sections}</html>\n"
    )


def _section(name: str, entry: dict[str, Any]) -> str:
    problem = f"<p class=bad>{html.escape(entry['problem'])}</p>" if entry["problem"] else ""
    sides = "".join(_side(entry[key], title) for key, title in (("annotated", "annotations"), ("trained", "training")))
    heading = html.escape(f"{name} {entry['where']}")
    return f"<section><h2>{heading}</h2>{problem}<div class=two>{sides}</div></section>"


def _side(drawing: "Drawing | None", title: str) -> str:
    if drawing is None:
        return ""
    images = "".join(f'<img src="{_data_url(image)}" alt="{title}">' for image in drawing.images)
    texts = "".join(
        f"<li{'' if colour is None else f' style=color:{colour}'}>{html.escape(text)}</li>"
        for text, colour in drawing.texts
    )
    wrong = "".join(f"<li class=bad>{html.escape(problem)}</li>" for problem in drawing.problems)
    return f"<div><h3>{title}</h3>{images}<ul>{texts}{wrong}</ul></div>"


def _data_url(frame: "np.ndarray") -> str:
    buffer = io.BytesIO()
    _thumbnail(frame, _THUMB).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _thumbnail(frame: "np.ndarray", side: int) -> Any:
    from PIL import Image

    image = Image.fromarray(frame)
    image.thumbnail((side, side))
    return image


def contact_sheet(drawings: Sequence["Drawing"], columns: int = 6) -> Any:
    """All first images side by side, each with its first text below."""
    from PIL import Image, ImageDraw

    drawings = [drawing for drawing in drawings if drawing.images]
    if not drawings:
        raise ConfigError("there is no image to put on a sheet; write a page: --out page.html")
    rows = -(-len(drawings) // columns)
    sheet = Image.new("RGB", (min(columns, len(drawings)) * _CELL, rows * (_CELL + 16)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, drawing in enumerate(drawings):
        x, y = number % columns * _CELL, number // columns * (_CELL + 16)
        sheet.paste(_thumbnail(drawing.images[0], _CELL - 4), (x, y))
        text = drawing.texts[0][0] if drawing.texts else ""
        draw.text((x, y + _CELL), text[:40].encode("latin-1", "replace").decode("latin-1"), fill="black")
    return sheet


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm browse-dataset", description=__doc__)
    parser.add_argument("source", help=HELP)
    parser.add_argument("--out", default="dataset.html", help="a page (.html) or a sheet (.png); default: dataset.html")
    parser.add_argument("--stream", action="append", default=[], metavar="NAME", help="only this stream or evaluation")
    parser.add_argument("--number", type=int, default=24, help="records of each data set (default: 24)")
    parser.add_argument("--start", type=int, default=0, help="first record (default: 0)")
    parser.add_argument("--shuffle", action="store_true", help="records from anywhere, in place of the first ones")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (default: 0)")
    parser.add_argument("--patch", type=int, default=16, help="side of a patch in pixels (default: 16)")
    add_source_options(parser)
    return parser.parse_args(argv)
