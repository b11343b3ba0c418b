"""Cost of a search by gallery size: seconds per query and peak memory of every index.

The gallery is stored in files, as an encoded one is; its features are synthetic. Each measurement runs in a process of
its own.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.benchmark.timing.measurement import seconds_of, slope
from x2vlm.benchmark.timing.peak_memory import measure_in_process
from x2vlm.building import build
from x2vlm.engine.process_memory import peak_memory
from x2vlm.gallery.feature_store import FeatureShard, FeatureStore
from x2vlm.gallery.nearest_neighbours import ExactIndex
from x2vlm.registry import INDEXES

MODULE = "x2vlm.benchmark.growth.growth_gallery"
NAMES = ("ExactIndex", "FaissFlat", "FaissIVF")
WIDTH, CENTRES, SPREAD = 256, 1000, 0.06
_SHARD, _QUERIES, _K = 16384, 256, 10


def gallery(
    sizes: Sequence[int],
    names: Sequence[str] = NAMES,
    options: Mapping[str, Any] | None = None,
    threads: int = 2,
    spread: float = SPREAD,
) -> list[dict[str, Any]]:
    """Search galleries of these sizes with 256 queries at once, 10 nearest each.

    Args:
        sizes: Features in each gallery.
        names: Indexes.
        options: Arguments of an index, by its name: ``{"FaissIVF": {"probes": 64}}``.
        threads: Of each process.
        spread: Of the features around their centres; see :func:`synthetic`.

    Returns:
        For each size and index: ``size``, ``index``, ``seconds`` (per query), ``fill_seconds`` (once), ``peak_memory``
        (bytes, all of the process) and ``recall`` (share of the ten nearest that were found).
    """
    rows = []
    for size in sizes:
        with TemporaryDirectory(prefix="gallery-") as folder:
            write_gallery(Path(folder), size, spread)
            for name in names:
                cfg = json.dumps({"type": name, **((options or {}).get(name) or {})})
                rows.append(
                    {"size": size, "index": name} | measure_in_process(MODULE, ["--measure", folder, cfg, str(threads)])
                )
    return rows


def index_slopes(rows: Sequence[Mapping[str, Any]], key: str = "seconds") -> dict[str, float]:
    """Slope of each index over the size on log-log axes; see :func:`~x2vlm.benchmark.timing.measurement.slope`.

    Raises:
        ValueError: If an index was measured at one size only.
    """
    names = dict.fromkeys(row["index"] for row in rows)
    return {name: slope([(row["size"], row[key]) for row in rows if row["index"] == name]) for name in names}


def synthetic(count: int, seed: int, spread: float = SPREAD) -> Tensor:
    """``[count, 256]`` normalised features around 1000 centres, with a cosine of about 0.7 to their own.

    Features of a model lie together by topics. With a spread of 1 they lie everywhere alike, and lists are of little
    use: the worst case of an approximate index.
    """
    centres = F.normalize(torch.randn(CENTRES, WIDTH, generator=torch.Generator().manual_seed(0)), dim=1)
    generator = torch.Generator().manual_seed(seed)
    chosen = centres[torch.randint(CENTRES, (count,), generator=generator)]
    return F.normalize(chosen + spread * torch.randn(count, WIDTH, generator=generator), dim=1)


def write_gallery(folder: Path, size: int, spread: float = SPREAD) -> None:
    """Files of features, and one of queries."""
    for number, first in enumerate(range(0, size, _SHARD)):
        np.save(folder / f"{number:06d}.npy", synthetic(min(_SHARD, size - first), number + 2, spread).numpy())
    np.save(folder / "queries.npy", synthetic(_QUERIES, 1, spread).numpy())


def open_gallery(folder: Path) -> tuple[FeatureStore, Tensor]:
    """The features, and the queries."""
    shards, start = [], 0
    for file in sorted(folder.glob("[0-9]*.npy")):
        count = len(np.load(file, mmap_mode="r", allow_pickle=False))
        shards.append(FeatureShard(file, torch.arange(start, start + count)))
        start += count
    return FeatureStore(shards, WIDTH), torch.from_numpy(np.load(folder / "queries.npy", allow_pickle=False))


def measure_index(folder: Path, cfg: Mapping[str, Any]) -> dict[str, float]:
    """One index over one gallery, in this process."""
    rows, queries = open_gallery(folder)
    index, k = build(INDEXES, cfg, "index"), min(_K, len(rows))
    fill_seconds = seconds_of(lambda: index.fill(rows))
    index.search(queries[:8], k)  # the first search is not counted
    indices: list[Tensor] = []
    seconds = seconds_of(lambda: indices.append(index.search(queries, k)[1]))
    memory = peak_memory()  # before the comparison, which is not the index's
    exact = ExactIndex()
    exact.fill(rows)
    exact_indices = exact.search(queries, k)[1]
    recall = (indices[0][:, :, None] == exact_indices[:, None]).any(dim=1).double().mean().item()
    return {"seconds": seconds / len(queries), "fill_seconds": fill_seconds, "peak_memory": memory, "recall": recall}


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table, and the slopes under it."""
    lines = ["index            size   ms/query     fill s    MiB   recall@10"]
    lines += [
        f"{row['index']:<12}{row['size']:>9}{1000 * row['seconds']:>11.3f}{row['fill_seconds']:>11.2f}"
        f"{row['peak_memory'] / 2**20:>7.0f}{row['recall']:>12.3f}"
        for row in rows
    ]
    if len({row["size"] for row in rows}) > 1:
        seconds, memory = index_slopes(rows), index_slopes(rows, "peak_memory")
        lines += ["", "slope on log-log axes: seconds a query, memory"]
        lines += [f"{name:<12}{seconds[name]:>9.2f}{memory[name]:>9.2f}" for name in seconds]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str]) -> int:
    """Measure all indexes, each in its own process; with ``--measure FOLDER INDEX THREADS`` one of them in this one."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", metavar="SIZE", help="features in a gallery")
    parser.add_argument("--spread", type=float, default=SPREAD, help=f"around their centres (default: {SPREAD})")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure is None:
        sys.stdout.write(format_rows(gallery(args.sizes, spread=args.spread)))
        return 0
    folder, cfg, threads = args.measure
    torch.set_num_threads(int(threads))
    sys.stdout.write(json.dumps(measure_index(Path(folder), json.loads(cfg))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
