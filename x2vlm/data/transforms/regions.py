"""Pairs from the regions and objects of an annotated image: a random crop with its elements, or all phrases.

Shape letters: R elements or pairs of one record.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from x2vlm.data.record import Record, RecordError, identity
from x2vlm.data.transforms.elements import Box, Element, elements_of_kinds, languages_of, parse_kinds, usable_elements
from x2vlm.data.transforms.images.box_geometry import clip_boxes
from x2vlm.data.transforms.images.geometry import CropBox, crop, frame_size
from x2vlm.data.transforms.texts.field_texts import all_texts, choose_text
from x2vlm.data.transforms.texts.text_cleaning import clean_caption, is_blank
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PickRegions(BaseTransform):
    """Crop the image randomly around one random element, and pair the crop with the elements inside.

    The caption of the whole image, if there is one, comes first and counts; elements follow in random order. Their text
    is ``attributes + " " + caption``; of lists one at random, of dicts one language at random. An element whose box is
    not in the image, or whose text is empty, is left out and counted in ``extras["dropped_boxes"]``.

    Args:
        max_regions: At most so many pairs.
        min_inside: An element is taken if more than this share of its box is inside the crop.
        kinds: Take only elements of these kinds, e.g. ``("object",)``; None takes all.
        language: Take this language of captions by language.
        max_words: Keep so many words; None keeps all.
        training: False keeps the whole image and takes the elements in order.
    """

    def __init__(
        self,
        max_regions: int = 5,
        min_inside: float = 0.5,
        kinds: Sequence[str] | None = None,
        language: str | None = None,
        max_words: int | None = None,
        training: bool = True,
    ) -> None:
        if max_regions < 1:
            raise ValueError(f"max_regions is {max_regions}; expected 1 or more")
        if not 0 <= min_inside < 1:
            raise ValueError(f"min_inside is {min_inside}; expected a share from 0 to below 1")
        self.max_regions, self.min_inside, self.training = max_regions, min_inside, training
        self.kinds, self.language, self.max_words = parse_kinds(kinds), language, max_words

    def transform(self, results: Record) -> Record:
        """Crop the frames and add the pairs.

        Raises:
            RecordError: If there is neither an element nor a caption, or all of the elements are unusable. A record
                whose elements are all of other kinds is in order; it gives no pair.
        """
        kept = elements_of_kinds(results, self.kinds)
        caption = self._caption(results)
        if not results.get("elems") and caption is None:
            raise RecordError(results["where"], "there are no elems")
        elements, dropped = usable_elements(results | {"elems": kept}, self._texts)
        height, width = frame_size(results)
        crop_box = (0, 0, width, height)
        if self.training and elements:
            crop_box = random_crop_around(random.choice(elements).box, width, height)
            random.shuffle(elements)
        pairs, boxes = self._inside(elements, crop_box, self.max_regions - (caption is not None))
        texts, ids = [each.text for each in pairs], [each.id for each in pairs]
        if caption is not None:
            whole = np.array([[0, 0, crop_box[2] - crop_box[0], crop_box[3] - crop_box[1]]], dtype=np.float32)
            texts, ids, boxes = [caption, *texts], [identity(results), *ids], np.concatenate([whole, boxes])
        has_box = [False] * (caption is not None) + [True] * len(pairs)
        frames = [crop(frame, crop_box) for frame in results["frames"]]
        extras = results.get("extras", {}) | {"dropped_boxes": dropped}
        new = {"texts": texts, "ids": ids, "boxes_xyxy_px": boxes, "has_box": has_box}
        return results | new | {"frames": frames, "elems": kept, "extras": extras}

    def _caption(self, results: Record) -> str | None:
        if not results.get("caption"):
            return None
        try:
            return clean_caption(choose_text(results["caption"], self.language), self.max_words)
        except ValueError as error:
            raise RecordError(results["where"], f"caption of the whole image: {error}") from error

    def _texts(self, elem: dict) -> list[str]:
        language = self.language or random.choice(languages_of(elem))
        text = choose_text(elem.get("caption"), language)
        if elem.get("attributes"):
            text = f"{choose_text(elem['attributes'], language)} {text}"
        return [clean_caption(text, self.max_words)]

    def _inside(self, elements: list[Element], crop_box: Box, most: int) -> tuple[list[Element], np.ndarray]:
        """The first ``most`` elements that are inside enough, and their ``[R, 4]`` boxes within the crop."""
        boxes = np.array([element.box for element in elements], dtype=np.float64).reshape(-1, 4)
        boxes, share = clip_boxes(boxes, crop_box)
        taken = np.flatnonzero(share > self.min_inside)[:most]
        return [elements[index] for index in taken], boxes[taken].astype(np.float32)


@TRANSFORMS.register_module()
class PickPhrases(BaseTransform):
    """Pair the whole image with every element, in order: for the evaluation of grounding.

    Where an element has several captions, each makes a pair; of several attributes the first is taken. An element whose
    box is not in the image, or whose text is empty, is left out and counted in ``extras["dropped_boxes"]``.
    ``extras["kinds"]`` has the kind of each pair's element, for metrics by kind; so has each key of the elements'
    ``extras`` (attributes, reference numbers): a list with an entry for each pair.

    Args:
        kinds: Take only elements of these kinds, e.g. ``("object",)``; None takes all.
        language: Take this language of captions by language; None takes all.
        max_words: Keep so many words; None keeps all.
    """

    def __init__(
        self, kinds: Sequence[str] | None = None, language: str | None = None, max_words: int | None = None
    ) -> None:
        self.kinds, self.language, self.max_words = parse_kinds(kinds), language, max_words

    def transform(self, results: Record) -> Record:
        """Add the pairs.

        Raises:
            RecordError: If there is no element, or none is usable. A record whose elements are all of other kinds is in
                order; it gives no pair.
        """
        if not results.get("elems"):
            raise RecordError(results["where"], "there are no elems")
        kept = elements_of_kinds(results, self.kinds)
        elements, dropped = usable_elements(results | {"elems": kept}, self._texts)
        return results | {
            "texts": [element.text for element in elements],
            "ids": [element.id for element in elements],
            "boxes_xyxy_px": np.array([element.box for element in elements], dtype=np.float32).reshape(-1, 4),
            "has_box": [True] * len(elements),
            "elems": kept,
            "extras": results.get("extras", {})
            | {name: [element.extras.get(name) for element in elements] for name in _extra_names(elements)}
            | {"dropped_boxes": dropped, "kinds": [element.kind for element in elements]},
        }

    def _texts(self, elem: dict) -> list[str]:
        captions = []
        for language in [self.language] if self.language else languages_of(elem):
            first = f"{all_texts(elem['attributes'], language)[0]} " if elem.get("attributes") else ""
            said = [caption for caption in all_texts(elem.get("caption"), language) if not is_blank(caption)]
            captions += [f"{first}{caption}" for caption in said]
        if not captions:
            raise ValueError("it has no caption")
        return [clean_caption(caption, self.max_words) for caption in captions]


def _extra_names(elements: Sequence[Element]) -> list[str]:
    """Keys of the extras of any of the elements."""
    return list(dict.fromkeys(name for element in elements for name in element.extras))


def random_crop_around(box: Box, width: int, height: int) -> CropBox:
    """A random crop (x0, y0, x1, y1) of an image, in whole pixels, that contains the box (xyxy)."""
    return (
        random.randint(0, math.floor(box[0])),
        random.randint(0, math.floor(box[1])),
        random.randint(min(math.ceil(box[2]), width), width),
        random.randint(min(math.ceil(box[3]), height), height),
    )


@TRANSFORMS.register_module()
class RegionsAsCaptions(BaseTransform):
    """Make what is said of the regions of an image its captions, and drop all elements.

    So Visual Genome, which has no captions, gets into pairs of images and texts. A repeated sentence is one caption.
    """

    def transform(self, results: Record) -> Record:
        """The record with captions in the place of elements.

        Raises:
            RecordError: If no region has a caption.
        """
        regions = elements_of_kinds(results, ("region",))
        captions = [
            text for elem in regions if (text := elem.get("caption")) and isinstance(text, str) and text.strip()
        ]
        if not captions:
            raise RecordError(results["where"], "there is no region with a caption")
        dropped = ("elems", "stated_size", "boxes_are_shares")
        return {key: value for key, value in results.items() if key not in dropped} | {
            "caption": list(dict.fromkeys(captions))
        }
