"""Compute and store what the fixed part of a config's vision encoder makes of every image that its streams read.

python -m plugins.real_towers.store_features configs/small/flickr8k.py --cfg-options data_root=data/flickr8k

Every stream whose pipeline begins with ``LoadFeatures`` gets the folder that it names. Stopped at any time, the command
goes on where it was when it is started again with the same arguments.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.utils import track_iter_progress
from numpy.lib.format import open_memmap

from plugins.real_towers.stored_features import FEATURES, VIEWS, View, check_array, describe, draw_views, read_views
from x2vlm.building import ConfigError, build, resolve
from x2vlm.commands.shared.outcome import Outcome
from x2vlm.config import add_cfg_options, load_config
from x2vlm.data.data_root import with_data_root
from x2vlm.data.io.atomic_files import write_atomically
from x2vlm.data.io.image_decoding import decode_image
from x2vlm.data.record import RecordError, identity
from x2vlm.registry import DATASETS, VISION_ENCODERS

MEAN = STD = 127.5  # of pixels 0..255, as the weights were trained


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a config whose streams begin with LoadFeatures")
    parser.add_argument("--views", type=int, default=4, help="of each image: all of it, mirrored, random crops")
    parser.add_argument("--scale", type=float, nargs=2, default=(0.5, 1.0), help="share of the area of a random crop")
    add_cfg_options(parser)
    args = parser.parse_args(arguments)
    if args.views < 1:
        parser.error(f"--views {args.views}: expected 1 or more")
    if not 0 < args.scale[0] <= args.scale[1] <= 1:
        parser.error(f"--scale {args.scale[0]} {args.scale[1]}: expected the least and the greatest share, from 0 to 1")
    outcome = Outcome()
    outcome.prepare(lambda: _store_all(args))
    return outcome.status


def _store_all(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    datasets = datasets_by_folder(cfg)
    if not datasets:
        raise ConfigError(f"{args.config}: no stream's pipeline begins with LoadFeatures, so there is nothing to store")
    encoder = build(VISION_ENCODERS, cfg.model.vision_encoder, "model.vision_encoder").eval()
    encoder.net.to(memory_format=torch.channels_last)
    for folder, dataset in datasets.items():
        sys.stdout.write(f"{folder}: {len(dataset)} records\n")
        store_features(dataset, folder, encoder, args.views, tuple(args.scale))


def datasets_by_folder(cfg: Any) -> dict[Path, Any]:
    """The data sets of the streams that read stored features, by the folder of these; each folder once.

    Raises:
        ConfigError: If streams that read other files name one folder.
    """
    found: dict[Path, Any] = {}
    sources: dict[Path, tuple[str, dict[str, Any]]] = {}
    for name, stream in cfg.streams.items():
        dataset = with_data_root(stream.dataset, cfg.get("data_root"))
        first = next(iter(dataset["pipeline"]), {})
        if getattr(first.get("type"), "__name__", first.get("type")) == "LoadFeatures":
            source = {key: value for key, value in dataset.items() if key != "pipeline"}
            folder, files = Path(first["folder"]), _files_of(source)
            other, its_files = sources.setdefault(folder, (name, files))
            if its_files != files:
                raise ConfigError(
                    f"streams {other} and {name} read other files ({its_files}; {files}), but their features would lie "
                    f"in one folder, {folder}. Name another in one of them: pipeline[0].folder."
                )
            if other == name:
                found[folder] = build(DATASETS, source, f"streams.{name}.dataset")
    return found


def _files_of(source: Mapping[str, Any]) -> dict[str, str]:
    """The options of a data set that name files, and which of its records are taken."""
    paths = getattr(resolve(DATASETS, source["type"]), "paths", ())
    return {key: str(source[key]) for key in (*paths, "subset") if source.get(key) is not None}


def store_features(dataset: Any, folder: Path, encoder: Any, views: int, scale: tuple[float, float]) -> None:
    """Store the features of all images of a data set, each once, or go on with it. Bad records are told and left out.

    Args:
        dataset: Records with an ``image``.
        folder: Where to; made if need be.
        encoder: The network: ``features``, ``image_size``, ``grid``, ``channels`` and ``name``, as those of
            :class:`~plugins.real_towers.frozen_vision.FrozenEfficientNetLite`.
        views: Views of every image.
        scale: Least and greatest share of the area of a random crop.

    Raises:
        ConfigError: If the folder was begun with other arguments, or no image can be read.
    """
    keys, drawn, numbers = [], [], []
    seen: set[str] = set()
    for index in range(len(dataset)):
        try:
            record = dataset.record(index)
            if identity(record) in seen:  # another caption of an image
                continue
            height, width = decode_image(record["image"], record["where"]).shape[:2]
        except RecordError as error:
            sys.stderr.write(f"left out: {error}\n")
            continue
        seen.add(identity(record))
        keys.append(identity(record))
        numbers.append(index)
        drawn.append(draw_views(keys[-1], views, width, height, scale))
    if not keys:
        raise ConfigError(f"{folder}: none of {len(dataset)} records has an image that can be read")
    about = describe(keys, drawn, size=list(encoder.image_size), network=encoder.name, done=0)
    about = json.loads(json.dumps(about))
    if (folder / VIEWS).is_file():
        try:
            begun = read_views(folder)
            check_array(folder, len(begun["keys"]))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if differ := [name for name in about if name != "done" and begun.get(name) != about[name]]:
            kinds = dict(keys="images", views="views of them", size="size", network="network")
            raise ConfigError(
                f"{folder}: holds features made otherwise ({', '.join(kinds[name] for name in differ)}). Name another "
                "folder, or delete this one."
            )
        array, about = np.load(folder / FEATURES, mmap_mode="r+"), begun
    else:
        folder.mkdir(parents=True, exist_ok=True)
        shape = (len(keys), views, encoder.channels, *encoder.grid)
        array = open_memmap(folder / FEATURES, mode="w+", dtype=np.float16, shape=shape)
    done, todo = about["done"], range(about["done"], len(keys))
    try:
        for row in track_iter_progress(todo) if todo else ():
            record = dataset.record(numbers[row])
            array[row] = features_of(encoder, decode_image(record["image"], record["where"]), drawn[row]).numpy()
            done = row + 1
            if done % 100 == 0:
                _keep(folder, array, about | {"done": done})
    finally:  # also when it is interrupted
        _keep(folder, array, about | {"done": done})
        left = "" if done == len(keys) else " The same command goes on."
        sys.stdout.write(f"\n{folder}: {done} of {len(keys)} images are stored.{left}\n")


def _keep(folder: Path, array: np.ndarray, about: dict[str, Any]) -> None:
    array.flush()
    write_atomically(folder / VIEWS, json.dumps(about))


def features_of(encoder: Any, image: np.ndarray, views: Sequence[View]) -> torch.Tensor:
    """``[V, C, h, w]`` features in half precision of the views of an image."""
    frames = np.stack([view.frame(image, encoder.image_size) for view in views])
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float().sub(MEAN).div(STD)
    return encoder.features(pixels.contiguous(memory_format=torch.channels_last)).half()


if __name__ == "__main__":
    sys.exit(main())
