"""Workloads that begin with image files: reading regions, and training on them."""

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
from x2vlm.benchmark.workloads.model_sizes import FIRST_WORD, MASKS, OBJECTIVES, make_model
from x2vlm.benchmark.workloads.workload import CAPTION_TOKENS, Scale, Workload
from x2vlm.data.batch import Batch, Sample
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.data.transforms.images.rand_augment import RandAugment
from x2vlm.reference.reference_data import read_regions
from x2vlm.reference.reference_model import ReferenceModel

WIDTH, HEIGHT, BOXES, FILES = 640, 480, 6, 8
Read = Callable[[int], list[Sample]]


def data(scale: Scale, backend: str = "torch") -> list[Workload]:
    """Region samples, from JPEG files to a batch of tensors, in one process; ``backend`` is that of the library."""
    read, read_reference, folder = readers(scale, backend)
    words = bert_vocab([f"word{i}" for i in range(scale.size.vocab_size - FIRST_WORD)])
    collate, collate_reference = _collates(words)
    count = 64 if scale.size.image >= 224 else FILES

    def library(_: Any = folder) -> Batch:  # keeps the temporary folder alive
        random.seed(1)
        return collate(read(count))

    def with_reference() -> Batch:
        random.seed(1)
        return collate_reference(read_reference(count))

    kib = sum(file.stat().st_size for file in Path(folder.name).glob("*.jpg")) / FILES / 1024
    name = f"region samples of {WIDTH}x{HEIGHT} JPEG of {kib:.0f} KiB, {BOXES} boxes and a caption"
    return [Workload(name, library, with_reference, count, "images")]


def end_to_end(scale: Scale) -> list[Workload]:
    """Images from disk, then forward and backward through their regions."""
    read, read_reference, folder = readers(scale)
    model = make_model(scale.size, scale.size.image, dropout=scale.dropout).to(scale.device).train()
    reference = ReferenceModel(model, CAPTION_TOKENS, MASKS)
    images = max(1, 3 * scale.pairs // 8)
    collate, collate_reference = _collates(model.tokenizer, scale.pairs)

    def started() -> None:
        model.zero_grad(set_to_none=True)
        random.seed(1)
        torch.manual_seed(1)

    def library(_: Any = folder) -> None:
        started()
        with computing_in(scale.precision, scale.device):
            sum(model(collate(read(images)).to(scale.device)).values()).backward()

    def with_reference() -> None:
        started()
        batch = collate_reference(read_reference(images)).to(scale.device)
        with computing_in(scale.precision, scale.device):
            sum(reference.losses(batch, list(OBJECTIVES)).values()).backward()

    name = f"reading {images} images and training on {scale.pairs} regions of them"
    return [Workload(name, library, with_reference, scale.pairs, "pairs")]


def readers(scale: Scale, backend: str = "torch") -> tuple[Read, Read, TemporaryDirectory]:
    """``read(count)`` of the library and of the reference path, and the folder they read, deleted with the object."""
    folder, side = TemporaryDirectory(prefix="x2vlm_benchmark_"), scale.size.image
    lines = _write_files(Path(folder.name))
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

    def augmented(frame: np.ndarray) -> np.ndarray:
        return colours({"frames": [frame], "where": "a line"})["frames"][0]

    def read(count: int) -> list[Sample]:
        return [dataset[index % FILES] for index in range(count)]

    def read_reference(count: int) -> list[Sample]:
        return [read_regions(lines[index % FILES], side, grid, augmented) for index in range(count)]

    return read, read_reference, folder


def _collates(tokenizer: Any, pairs: int | None = None) -> tuple[Callable, Callable]:
    masking = {"prob": 0.5, "max_masks": MASKS}
    shared = {"max_tokens": CAPTION_TOKENS, "masking": masking, "batch_size": pairs}
    padded = PairCollate(tokenizer, pad_to_max=True, **shared)
    return PairCollate(tokenizer, **shared), padded


def _write_files(folder: Path) -> list[str]:
    """Image files with one annotation line each, and the lines of the reference path, which contain the images."""
    rng, ours, reference = np.random.default_rng(0), [], []
    for number in range(FILES):
        coarse = rng.normal(128, 50, (30, 40, 3)).clip(0, 255).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        frame = (smooth + rng.normal(0, 11, smooth.shape)).clip(0, 255).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(frame).save(data, "JPEG", quality=85)
        (folder / f"{number}.jpg").write_bytes(data.getvalue())
        record = {
            "image": f"{number}.jpg",
            "caption": _random_words(rng, 10),
            "elems": [_element(rng) for _ in range(BOXES)],
        }
        ours.append(json.dumps(record))
        reference.append(json.dumps(record | {"binary": base64.b64encode(data.getvalue()).decode()}))
    (folder / "regions.jsonl").write_text("\n".join(ours) + "\n")
    return reference


def _element(rng: np.random.Generator) -> dict[str, Any]:
    x, y = int(rng.integers(0, WIDTH // 2)), int(rng.integers(0, HEIGHT // 2))
    w, h = int(rng.integers(60, WIDTH // 2)), int(rng.integers(60, HEIGHT // 2))
    return {"bb": [x, y, w, h], "caption": _random_words(rng, 3)}


def _random_words(rng: np.random.Generator, count: int) -> str:
    return " ".join(f"word{i}" for i in rng.integers(0, 50, count))
