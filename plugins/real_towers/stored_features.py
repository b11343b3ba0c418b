"""Features of a fixed network, computed once for a few views of every image and read from a file in each epoch.

A folder holds ``features.npy`` (``[images, views, C, h, w]`` in half precision, mapped into memory and never read as a
whole) and ``views.json`` (which network, the identity of every image, the views).
"""

import json
import random
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from x2vlm.data.record import Record, RecordError, identity
from x2vlm.data.transforms.elements import box_inside
from x2vlm.data.transforms.images.box_geometry import clip_boxes, flip_boxes
from x2vlm.data.transforms.images.geometry import CropBox, crop, mirror, resize
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.texts.field_texts import all_texts
from x2vlm.data.transforms.texts.left_right_words import mentions_side, texts_of_record
from x2vlm.registry import TRANSFORMS

FEATURES, VIEWS = "features.npy", "views.json"
_ANEW = "Delete the folder, and run store_features again."


@dataclass(frozen=True)
class View:
    """A part of an image (xyxy in whole pixels), perhaps mirrored, at the size that the network takes."""

    crop_box: CropBox
    mirrored: bool

    def frame(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The view of an ``[H, W, 3]`` image, ``[size, 3]``."""
        part = resize(np.ascontiguousarray(crop(image, self.crop_box)), size)
        return mirror(part) if self.mirrored else part

    def boxes(self, boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """``[R, 4]`` xyxy boxes of the image as they lie in the view, and ``[R]`` the share of each that is inside."""
        inside, share = clip_boxes(boxes, self.crop_box)
        x0, y0, x1, y1 = self.crop_box
        scaled = inside * (np.array([size[1], size[0]] * 2) / np.array([x1 - x0, y1 - y0] * 2))
        return flip_boxes(scaled, size[1]) if self.mirrored else scaled, share


def draw_views(key: str, count: int, width: int, height: int, scale: tuple[float, float]) -> list[View]:
    """The views of an image: all of it, all of it mirrored, then random crops, every other one mirrored.

    Args:
        key: The identity of the image, from which the crops are drawn: the same in every run.
        count: How many.
        width: Of the image in pixels.
        height: Likewise.
        scale: Least and greatest share of the area of a crop.
    """
    whole, draws = (0, 0, width, height), random.Random(key)
    views = [View(whole, False), View(whole, True)][:count]
    while len(views) < count:
        share, stretch = draws.uniform(*scale), 2 ** draws.uniform(-0.4, 0.4)
        w = min(width, round(width * (share * stretch) ** 0.5))
        h = min(height, round(height * (share / stretch) ** 0.5))
        left, top = draws.randint(0, width - w), draws.randint(0, height - h)
        views.append(View((left, top, left + w, top + h), len(views) % 2 == 1))
    return views


class FeatureFolder:
    """A folder of stored features, opened for reading.

    Args:
        path: The folder.
        network: The network that has to have computed them; None takes those of any.

    Raises:
        FileNotFoundError: If it is none; the message says how to make one.
        ValueError: If it was not finished, is damaged, or is of another network.
    """

    def __init__(self, path: str | Path, network: str | None = None) -> None:
        self.path = Path(path)
        if not (self.path / VIEWS).is_file():
            how = "python -m plugins.real_towers.store_features CONFIG, with the same --cfg-options"
            raise FileNotFoundError(f"{self.path}: no stored features ({VIEWS} is missing). Make them: {how}")
        self.about = read_views(self.path)
        if network not in (None, self.about["network"]):
            raise ValueError(
                f"{self.path}: holds features of {self.about['network']}, but network is {network}. Store those of the "
                "model's network in another folder (store_features), or name the network that they are of."
            )
        if self.about["done"] < len(self.about["keys"]):
            raise ValueError(
                f"{self.path}: {self.about['done']} of {len(self.about['keys'])} images are stored. "
                "Run store_features with the same arguments again: it goes on where it stopped."
            )
        self.rows = {key: row for row, key in enumerate(self.about["keys"])}
        self.size: tuple[int, int] = tuple(self.about["size"])
        self._array: np.ndarray | None = None
        check_array(self.path, len(self.rows))

    def views(self, key: str) -> list[View]:
        """The views of an image."""
        return [View(tuple(box), mirrored) for box, mirrored in self.about["views"][self.rows[key]]]

    def features(self, key: str, view: int) -> Tensor:
        """``[C, h, w]`` float32, what the network computed of a view."""
        if self._array is None:  # in the process that reads
            self._array = np.load(self.path / FEATURES, mmap_mode="r")
        return torch.from_numpy(self._array[self.rows[key], view].astype(np.float32))


def read_views(path: Path) -> dict[str, Any]:
    """What ``views.json`` of a folder says.

    Raises:
        ValueError: If it is damaged.
    """
    file = path / VIEWS
    try:
        about = json.loads(file.read_text())
        lacking = [key for key in ("network", "size", "done", "keys", "views") if key not in about]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged: {error}. {_ANEW}") from error
    if lacking:
        raise ValueError(f"{file} is damaged: it has no '{lacking[0]}'. {_ANEW}")
    return about


def check_array(path: Path, images: int) -> None:
    """Refuse a file of features that is not whole.

    Raises:
        ValueError: If it is missing, cut off, or of another number of images.
    """
    file = path / FEATURES
    try:
        stored = len(np.load(file, mmap_mode="r"))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file} is damaged: {error}. {_ANEW}") from error
    if stored != images:
        raise ValueError(f"{file} is of {stored} images, but {VIEWS} beside it lists {images}. {_ANEW}")


def describe(keys: list[str], views: list[list[View]], **about: Any) -> dict[str, Any]:
    """The content of ``views.json``."""
    return about | {"keys": keys, "views": [[astuple(view) for view in of_image] for of_image in views]}


@TRANSFORMS.register_module()
class LoadFeatures(BaseTransform):
    """Take stored features instead of reading and cropping the image; elements follow the view.

    In training a random view, never a mirrored one where a text of the record mentions left or right, and one with an
    element where the record has elements; otherwise the whole image. Followed by ``PickCaption`` or
    ``PickRegions(training=False)``, and by ``PackFeatures``; no transform of pixels can come between.

    Args:
        folder: The folder of stored features.
        network: The network that has to have computed them, as the encoder calls it (``tf_efficientnet_lite2``).
        training: Whether the view is drawn.
        min_inside: In training an element stays if more than this share of its box is inside the view. One whose box
            is unusable stays too, to be counted by the transform that picks elements.

    Raises:
        FileNotFoundError: If there are no stored features.
        ValueError: If they are unfinished, damaged, or of another network.
    """

    moves_pixels = True
    paths = ("folder",)

    def __init__(self, folder: str, training: bool = True, min_inside: float = 0.5, network: str | None = None) -> None:
        self.stored, self.training, self.min_inside = FeatureFolder(folder, network), training, min_inside
        #: Stands for the image in the transforms that follow, which read nothing but its size.
        self.frame = np.broadcast_to(np.uint8(0), (*self.stored.size, 3))

    def transform(self, results: Record) -> Record:
        """Add ``features``, and ``frames`` of the size of the view.

        Raises:
            RecordError: If the features of this image were not stored.
        """
        key = identity(results)
        if key not in self.stored.rows:
            raise RecordError(results["where"], f"the features of '{key}' are not in {self.stored.path}")
        views = self.stored.views(key)
        number, elems = (
            self._draw(results, views)
            if self.training
            else (0, self._elements(results, views[0], views[0].crop_box[2:]))
        )
        extras = results.get("extras", {}) | {"image_size": self.stored.size}
        found = {"features": self.stored.features(key, number), "frames": [self.frame], "extras": extras}
        return results | found | ({} if elems is None else {"elems": elems})

    def _draw(self, results: Record, views: list[View]) -> tuple[int, list[dict] | None]:
        numbers = list(range(len(views)))
        random.shuffle(numbers)
        if any(view.mirrored for view in views) and self._mentions_side(results):
            numbers = [number for number in numbers if not views[number].mirrored]
        for number in numbers:
            elems = self._elements(results, views[number], views[0].crop_box[2:])
            if elems is None or elems:
                break
        if elems:
            random.shuffle(elems)
        return number, elems

    def _mentions_side(self, results: Record) -> bool:
        captions = all_texts(results["caption"], None) if results.get("caption") else []
        return any(map(mentions_side, [*captions, *texts_of_record(results)]))

    def _elements(self, results: Record, view: View, image_size: tuple[int, int]) -> list[dict] | None:
        """The elements that are inside, with boxes in pixels of the view; None where the record has none at all."""
        elems = results.get("elems")
        if not elems:
            return elems
        kept = []
        for elem in elems:
            try:
                box = box_inside(elem, *image_size)
            except ValueError:  # stays, and is counted where elements are picked
                kept.append(elem)
                continue
            moved, share = view.boxes(np.array([box], dtype=np.float64), self.stored.size)
            if share[0] > self.min_inside or not self.training:
                x0, y0, x1, y1 = moved[0].tolist()
                kept.append({**elem, "bb": (x0, y0, x1 - x0, y1 - y0)})
        return kept


@TRANSFORMS.register_module()
class PackFeatures(PackSample):
    """``PackSample`` for stored features, which take the place of the pixels."""

    def _pixels(self, results: Record) -> tuple[Tensor, int]:
        return results["features"], 1
