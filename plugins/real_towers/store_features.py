"""Compute and store what the fixed part of ``FrozenEfficientNetLite`` makes of every image of a data set.

python -m plugins.real_towers.store_features data/flickr8k/flickr8k_train.jsonl features/train --views 4

Stopped at any time, it goes on where it was when it is started again with the same arguments.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.utils import track_iter_progress
from numpy.lib.format import open_memmap

from plugins.real_towers.frozen_vision import FrozenEfficientNetLite
from plugins.real_towers.stored_features import FEATURES, VIEWS, View, describe, draw_views
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.io.atomic_files import write_atomically
from x2vlm.data.io.image_decoding import decode_image
from x2vlm.data.record import identity

MEAN = STD = 127.5  # of pixels 0..255, as the weights were trained


def store_features(
    dataset: Sequence, folder: Path, encoder: FrozenEfficientNetLite, views: int, scale: tuple[float, float]
) -> None:
    """Store the features of all images of a data set, or go on with it.

    Args:
        dataset: Records with an ``image``.
        folder: Where to; made if need be.
        encoder: The network.
        views: Views of every image.
        scale: Least and greatest share of the area of a random crop.

    Raises:
        ValueError: If the folder was begun with other arguments.
    """
    records = [dataset.record(index) for index in range(len(dataset))]
    keys = [identity(record) for record in records]
    sizes = [decode_image(record["image"], record["where"]).shape[1::-1] for record in records]
    drawn = [draw_views(key, views, *size, scale) for key, size in zip(keys, sizes, strict=True)]
    height, width = encoder.image_size
    shape = (len(keys), views, encoder.channels, *encoder.grid)
    about = describe(keys, drawn, size=[height, width], network=encoder.name, done=0)
    about = json.loads(json.dumps(about))
    if (folder / VIEWS).is_file():
        begun = json.loads((folder / VIEWS).read_text())
        if begun | {"done": 0} != about:
            raise ValueError(f"{folder}: holds features of other images, views or another network. Name another one.")
        array, about = np.load(folder / FEATURES, mmap_mode="r+"), begun
    else:
        folder.mkdir(parents=True, exist_ok=True)
        array = open_memmap(folder / FEATURES, mode="w+", dtype=np.float16, shape=shape)
    todo = range(about["done"], len(keys))
    for row in track_iter_progress(todo) if todo else ():
        image = decode_image(records[row]["image"], records[row]["where"])
        array[row] = features_of(encoder, image, drawn[row]).numpy()
        if row % 100 == 99 or row == len(keys) - 1:
            array.flush()
            write_atomically(folder / VIEWS, json.dumps(about | {"done": row + 1}))


def features_of(encoder: FrozenEfficientNetLite, image: np.ndarray, views: Sequence[View]) -> torch.Tensor:
    """``[V, C, h, w]`` features in half precision of the views of an image."""
    frames = np.stack([view.frame(image, encoder.image_size) for view in views])
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float().sub(MEAN).div(STD)
    return encoder.features(pixels.contiguous(memory_format=torch.channels_last)).half()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ann_file", help="index of tar shards")
    parser.add_argument("folder", type=Path, help="where the features go")
    parser.add_argument("--views", type=int, default=4, help="of each image: all of it, mirrored, random crops")
    parser.add_argument("--scale", type=float, nargs=2, default=(0.5, 1.0), help="share of the area of a random crop")
    parser.add_argument("--variant", type=int, default=2, choices=(0, 1, 2), help="which EfficientNet-Lite")
    parser.add_argument("--image-size", type=int, default=224, help="side in pixels")
    arguments = parser.parse_args()
    encoder = FrozenEfficientNetLite(arguments.variant, arguments.image_size).eval()
    encoder.net.to(memory_format=torch.channels_last)
    dataset = TarShards(arguments.ann_file)
    store_features(dataset, arguments.folder, encoder, arguments.views, tuple(arguments.scale))


if __name__ == "__main__":
    main()
