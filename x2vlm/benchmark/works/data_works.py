"""Works that begin with pictures on disk: reading regions, and training on what was read."""

import base64
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from x2vlm.benchmark.timing.device_precision import computing_in
from x2vlm.benchmark.works.inference_works import CAPTION_TOKENS, Scale, Work
from x2vlm.benchmark.works.model_sizes import FIRST_WORD, MASKS, OBJECTIVES, make_model
from x2vlm.data.batch import Batch, Sample
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.datasets.jsonl import JsonLines
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.data.transforms.rand_augment import RandAugment
from x2vlm.reference.reference_data import read_regions
from x2vlm.reference.reference_model import ReferenceModel

WIDTH, HEIGHT, BOXES, FILES = 640, 480, 6, 8
Read = Callable[[int], list[Sample]]


def data(scale: Scale, backend: str = "torch") -> list[Work]:
    """Region samples, from JPEG files to a batch of tensors, in one process; ``backend`` is that of the library."""
    read, read_plainly, folder = readers(scale, backend)
    words = bert_vocab([f"word{i}" for i in range(scale.size.vocab_size - FIRST_WORD)])
    collate, collate_plainly = _collates(words)
    count = 64 if scale.size.image >= 224 else FILES

    def library(_: Any = folder) -> Batch:  # holds the folder for as long as it may be read
        random.seed(1)
        return collate(read(count))

    def plain() -> Batch:
        random.seed(1)
        return collate_plainly(read_plainly(count))

    kib = sum(file.stat().st_size for file in Path(folder.name).glob("*.jpg")) / FILES / 1024
    name = f"region samples of {WIDTH}x{HEIGHT} JPEG of {kib:.0f} KiB, {BOXES} boxes and a caption"
    return [Work(name, library, plain, count, "pictures")]


def end_to_end(scale: Scale) -> list[Work]:
    """Pictures from disk, then forward and backward through their regions."""
    read, read_plainly, folder = readers(scale)
    model = make_model(scale.size, scale.size.image, dropout=scale.dropout).to(scale.device).train()
    plain = ReferenceModel(model, CAPTION_TOKENS, MASKS)
    pictures = max(1, 3 * scale.pairs // 8)
    collate, collate_plainly = _collates(model.tokenizer, scale.pairs)

    def started() -> None:
        model.zero_grad(set_to_none=True)
        random.seed(1)
        torch.manual_seed(1)

    def library(_: Any = folder) -> None:
        started()
        with computing_in(scale.precision, scale.device):
            sum(model(collate(read(pictures)).to(scale.device)).values()).backward()

    def with_plain_path() -> None:
        started()
        batch = collate_plainly(read_plainly(pictures)).to(scale.device)
        with computing_in(scale.precision, scale.device):
            sum(plain.losses(batch, list(OBJECTIVES)).values()).backward()

    name = f"reading {pictures} pictures and training on {scale.pairs} regions of them"
    return [Work(name, library, with_plain_path, scale.pairs, "pairs")]


def readers(scale: Scale, backend: str = "torch") -> tuple[Read, Read, TemporaryDirectory]:
    """``read(count)`` for the library and for the plain path, and the folder they read from, which goes with them."""
    folder, side = TemporaryDirectory(prefix="x2vlm_benchmark_"), scale.size.image
    lines = _write(Path(folder.name))
    steps = [
        {"type": "LoadImage"},
        {"type": "PickRegions", "max_regions": 5},
        {"type": "Flip", "careful": False},
        {"type": "Resize", "size": side, "backend": backend},
        {"type": "RandAugment", "ops": "colour"},
        {"type": "PackSample"},
    ]
    dataset = JsonLines(ann_file=str(Path(folder.name) / "regions.jsonl"), image_root=folder.name, pipeline=steps)
    colours, grid = RandAugment(ops="colour"), (side // scale.size.patch,) * 2

    def changed(frame: np.ndarray) -> np.ndarray:
        return colours({"frames": [frame], "where": "a line"})["frames"][0]

    def read(count: int) -> list[Sample]:
        return [dataset[index % FILES] for index in range(count)]

    def read_plainly(count: int) -> list[Sample]:
        return [read_regions(lines[index % FILES], side, grid, changed) for index in range(count)]

    return read, read_plainly, folder


def _collates(tokenizer: Any, pairs: int | None = None) -> tuple[Callable, Callable]:
    masking = {"prob": 0.5, "max_masks": MASKS}
    shared = {"max_tokens": CAPTION_TOKENS, "masking": masking, "batch_size": pairs}
    padded = PairCollate(tokenizer, pad_to_max=True, **shared)
    return PairCollate(tokenizer, **shared), padded


def _write(folder: Path) -> list[str]:
    """Pictures as files with one line each, and the lines of the plain path, which hold the pictures."""
    rng, ours, plain = np.random.default_rng(0), [], []
    for number in range(FILES):
        coarse = rng.normal(128, 50, (30, 40, 3)).clip(0, 255).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        frame = (smooth + rng.normal(0, 11, smooth.shape)).clip(0, 255).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(frame).save(data, "JPEG", quality=85)
        (folder / f"{number}.jpg").write_bytes(data.getvalue())
        record = {"image": f"{number}.jpg", "caption": _words(rng, 10), "elems": [_element(rng) for _ in range(BOXES)]}
        ours.append(json.dumps(record))
        plain.append(json.dumps(record | {"binary": base64.b64encode(data.getvalue()).decode()}))
    (folder / "regions.jsonl").write_text("\n".join(ours) + "\n")
    return plain


def _element(rng: np.random.Generator) -> dict[str, Any]:
    x, y = int(rng.integers(0, WIDTH // 2)), int(rng.integers(0, HEIGHT // 2))
    w, h = int(rng.integers(60, WIDTH // 2)), int(rng.integers(60, HEIGHT // 2))
    return {"bb": [x, y, w, h], "caption": _words(rng, 3)}


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join(f"word{i}" for i in rng.integers(0, 50, count))
