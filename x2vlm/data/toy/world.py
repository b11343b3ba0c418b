"""The toy world: images, regions, clips and sentences generated from a seed, without a download.

Scenes come from ``scene``, sentences from ``sentences``. Here they become records like those of any other data set.
Nothing is stored: record ``index`` is a function of (seed, split, index), the same in every process.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, islice
from random import Random
from typing import Any

import numpy as np

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.options import check_names
from x2vlm.data.toy.drawn_shapes import COLORS, SHAPES, Box, Thing
from x2vlm.data.toy.scene import Scene, SceneRules, draw, make_scene
from x2vlm.data.toy.sentences import (
    LANGUAGES,
    CaptionPlan,
    Clause,
    Mention,
    attributes,
    plan_caption,
    plan_motion_caption,
    plan_ordered_caption,
    plan_relations,
    render_caption,
    render_phrase,
)
from x2vlm.registry import DATASETS

KINDS = ("image", "region", "video", "text", "parallel")
SPLITS = ("train", "val", "test")
_LIMITS = {
    "num_scenes": (1, 10**12),
    "num_frames": (1, 1000),
    "image_size": (16, 4096),
    "scale": (0.25, 2.0),
    "tilt": (0, 180),
    "max_overlap": (0.0, 1.0),
    "clutter": (0, 1000),
    "shade": (0, 255),
    "noise": (0, 255),
}


@DATASETS.register_module()
class ToyWorld(Adapter):
    """Scenes of coloured shapes with captions, phrases with boxes, or motion.

    Kinds of records: ``image`` (image and caption), ``region`` (image, a phrase and a box for every thing and for
    some relations between two), ``video`` (frames and caption), ``text`` (caption), ``parallel`` (caption in several
    languages). All kinds but videos are of the same scene at the same number. All things of a scene differ, so
    every phrase refers to one box of its image. The splits never share a scene.

    Args:
        kind: Which records.
        num_scenes: Length of the data set.
        seed: Another seed is another world.
        split: ``train``, ``val`` or ``test``.
        image_size: Pixels of the square image's side.
        objects: Fewest and most things in a scene. Above four, all things are smaller; above six, captions
            exceed 30 words.
        pipeline: Transforms.
        languages: None gives English strings; a sequence of ``en``, ``de``, ``zh`` gives dicts by language.
            Parallel text is in English and German unless they are given.
        distinct_captions: No two records have the same things, so no caption fits two of them.
        region_captions: Region records carry the caption of the whole image too.
        captions: ``"free"`` names the things of a still scene in any order, and the position of some; ``"ordered"``
            names them from left to right and nothing else, so that every scene has one right caption.
        num_frames: Frames of a clip.
        shapes: Which shapes occur; ``drawn_shapes.SHAPES`` has two harder ones than the first six.
        colors: Which colours occur; ``drawn_shapes.COLORS`` has four finer ones than the first eight.
        scale: Factor on the extent of all things: larger ones are easier to point at, but need more room.
        tilt: Things are turned by up to so many degrees.
        max_overlap: Share of the smaller of two boxes that the other may cover; things may then hide each other.
        clutter: Number of faint strokes in the background.
        shade: Difference of brightness across the image, in grey levels of 255.
        noise: Standard deviation of the pixel noise, in grey levels of 255.

    Raises:
        ValueError: If an option has no meaning, or there are not so many distinct scenes.
    """

    def __init__(
        self,
        kind: str = "image",
        num_scenes: int = 10_000,
        seed: int = 0,
        split: str = "train",
        image_size: int = 64,
        objects: tuple[int, int] = (1, 4),
        pipeline: Sequence[dict | Callable] = (),
        languages: Sequence[str] | None = None,
        distinct_captions: bool = False,
        region_captions: bool = False,
        num_frames: int = 8,
        shapes: Sequence[str] = tuple(SHAPES)[:6],
        colors: Sequence[str] = tuple(COLORS)[:8],
        scale: float = 1.0,
        tilt: int = 0,
        max_overlap: float = 0.0,
        clutter: int = 0,
        shade: float = 0.0,
        noise: float = 0.0,
        captions: str = "free",
    ) -> None:
        super().__init__(pipeline)
        if languages is None and kind == "parallel":
            languages = ("en", "de")
        check_names([kind], KINDS, "ToyWorld: kind has no")
        check_names([split], SPLITS, "ToyWorld: split has no")
        check_names(languages or (), LANGUAGES, "ToyWorld: languages has no")
        check_names(shapes, SHAPES, "ToyWorld: shapes has no")
        check_names(colors, COLORS, "ToyWorld: colors has no")
        check_names([captions], ("free", "ordered"), "ToyWorld: captions has no")
        if captions == "ordered" and kind == "video":
            raise ValueError("ToyWorld: captions='ordered' is for still scenes; captions of videos name the motions.")
        if kind == "parallel" and len(languages) < 2:
            raise ValueError(f"ToyWorld: parallel text needs two languages or more, got {tuple(languages)}.")
        self.kind, self.seed, self.split = kind, seed, split
        self.languages, self.num_frames, self.region_captions = languages, num_frames, region_captions
        self.captions = captions
        self.rules = SceneRules(
            image_size,
            tuple(objects),
            moving=kind == "video",
            shapes=tuple(shapes),
            colors=tuple(colors),
            scale=scale,
            tilt=tilt,
            max_overlap=max_overlap,
            clutter=clutter,
            shade=shade,
            noise=noise,
        )
        _check_numbers(self.rules, num_scenes, num_frames)
        self.numbers = self._distinct_numbers(num_scenes) if distinct_captions else range(num_scenes)

    def __len__(self) -> int:
        return len(self.numbers)

    def record(self, index: int) -> dict[str, Any]:
        """The record at ``index``, the same at every call."""
        number = self.numbers[index]
        scene = self.scene(number)
        where = f"toy-{self.kind}-{self.split}:{index}"
        name = f"toy-{'clip' if self.kind == 'video' else 'scene'}-{self.seed}-{self.split}-{number}"
        record = {"where": where, "id": name, "extras": {"num_objects": len(scene.things)}}
        return record | getattr(self, f"_{self.kind}_fields")(scene, number)

    def scene(self, number: int) -> Scene:
        """The scene of that number. Numbers are indices, unless captions are distinct."""
        return make_scene(self._rng(number, "scene"), self.rules)

    def _image_fields(self, scene: Scene, number: int) -> dict[str, Any]:
        return {"image": draw(scene), "caption": self._caption(scene, number)}

    def _region_fields(self, scene: Scene, number: int) -> dict[str, Any]:
        relations = plan_relations(self._rng(number, "relations"), scene.things, len(scene.things) - 1)
        elems = [self._object(thing) for thing in scene.things] + [self._relation(clause) for clause in relations]
        caption = {"caption": self._caption(scene, number)} if self.region_captions else {}
        return {"image": draw(scene), "elems": elems} | caption

    def _video_fields(self, scene: Scene, number: int) -> dict[str, Any]:
        frames = [draw(scene, time) for time in np.linspace(0.0, 1.0, self.num_frames)]
        return {"video": frames, "caption": self._caption(scene, number)}

    def _text_fields(self, scene: Scene, number: int) -> dict[str, Any]:
        return {"text": self._caption(scene, number)}

    def _parallel_fields(self, scene: Scene, number: int) -> dict[str, Any]:
        return {"parallel": self._caption(scene, number)}

    def _caption(self, scene: Scene, number: int) -> str | dict[str, str]:
        caption = self._plan(scene, number)
        return self._in_languages(lambda language: render_caption(caption, language))

    def _plan(self, scene: Scene, number: int) -> CaptionPlan:
        rng = self._rng(number, "caption")
        if self.rules.moving:
            return plan_motion_caption(rng, scene.things)
        if self.captions == "ordered":
            return plan_ordered_caption(scene.things)
        return plan_caption(rng, scene.things, scene.side)

    def _object(self, thing: Thing) -> dict[str, Any]:
        bb, clause = _xywh(thing.box_xyxy), Clause(Mention(thing))
        if self.languages is None:
            return {"bb": bb, "caption": thing.shape, "attributes": attributes(clause.subject), "kind": "object"}
        return {
            "bb": bb,
            "caption": self._in_languages(lambda language: render_phrase(clause, language)),
            "kind": "object",
        }

    def _relation(self, clause: Clause) -> dict[str, Any]:
        boxes = np.array([clause.subject.thing.box_xyxy, clause.other.thing.box_xyxy])
        union = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
        caption = self._in_languages(lambda language: render_phrase(clause, language))
        return {"bb": _xywh(union), "caption": caption, "kind": "region"}

    def _in_languages(self, text: Callable[[str], str]) -> str | dict[str, str]:
        return text("en") if self.languages is None else {language: text(language) for language in self.languages}

    def _rng(self, number: int, purpose: str) -> Random:
        world = "moving" if self.rules.moving else "still"
        return Random(f"{world}/{self.seed}/{self.split}/{number}/{purpose}")  # a hash that is equal in all processes

    def _distinct_numbers(self, num_scenes: int) -> list[int]:
        """The first ``num_scenes`` numbers whose scenes show different sets of things (doing different things)."""
        known_sets: set[frozenset] = set()
        numbers: list[int] = []
        for number in islice(count(), 1000 + 20 * num_scenes):
            things = frozenset((*thing.kind, thing.motion) for thing in self.scene(number).things)
            if things not in known_sets:
                known_sets.add(things)
                numbers.append(number)
            if len(numbers) == num_scenes:
                return numbers
        raise ValueError(
            f"ToyWorld: only {len(numbers)} distinct scenes were found for num_scenes={num_scenes}. "
            "Set fewer, or more objects, shapes or colors."
        )


def _xywh(box: Box) -> Box:
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def _check_numbers(rules: SceneRules, num_scenes: int, num_frames: int) -> None:
    fewest, most = rules.objects
    if not 1 <= fewest <= most <= len(rules.kinds):
        raise ValueError(
            f"ToyWorld: objects is (fewest, most) with 1 <= fewest <= most <= {len(rules.kinds)} (two sizes of each "
            f"colour and shape), got {rules.objects}."
        )
    values = {"num_scenes": num_scenes, "num_frames": num_frames, "image_size": rules.side} | vars(rules)
    for name, (least, most_allowed) in _LIMITS.items():
        if not least <= values[name] <= most_allowed:
            raise ValueError(f"ToyWorld: {name} must be {least} to {most_allowed}, got {values[name]}.")
    make_scene(Random(0), replace(rules, objects=(most, most)))  # is there room at all?
