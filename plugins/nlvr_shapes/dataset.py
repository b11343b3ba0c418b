"""Drawn scenes in the geometry of NLVR v1 with true and false statements, or with phrases for single shapes.

Nothing is stored: record ``index`` is a function of (seed, index), the same in every process.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from plugins.nlvr_shapes import scatter_statements, tower_statements
from plugins.nlvr_shapes.scenes import SIZES, Item, Scene, box_of, draw_scene, make_scene
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.options import check_names
from x2vlm.registry import DATASETS

KINDS = ("statements", "phrases")
SLOTS = ("left", "middle", "right")
LEVELS = ("base", "second", "third", "fourth")
_WORD_OF_SIZE = {size: word for word, size in SIZES.items()}
_TRIES = 15  # makers of statements that are rarely true (or false) are given up after so many
_BOX_TALK = 0.15  # share of the statements about towers that call them boxes with items


@DATASETS.register_module()
class NlvrShapes(Adapter):
    """Scenes of coloured shapes, drawn as they are asked for.

    ``kind="statements"``: ``statements`` holds pairs of a sentence and its truth, as often true as false whatever
    kind of sentence it is. ``kind="phrases"``: ``elems`` holds a phrase and the exact box of each shape that a phrase
    can single out.

    Args:
        kind: ``statements`` or ``phrases``.
        num_scenes: Length of the data set.
        seed: Another seed gives other scenes.
        num_statements: Statements of each scene.
        towers: Share of the scenes that hold towers; in the corpus about two thirds.
        pipeline: Transforms.

    Raises:
        ValueError: If an option has no meaning.
    """

    def __init__(
        self,
        kind: str = "statements",
        num_scenes: int = 100_000,
        seed: int = 0,
        num_statements: int = 12,
        towers: float = 0.6,
        pipeline: Sequence[dict | Callable] = (),
    ) -> None:
        super().__init__(pipeline)
        check_names([kind], KINDS, "NlvrShapes: kind has no")
        if min(num_scenes, num_statements) < 1:
            raise ValueError(f"num_scenes={num_scenes}, num_statements={num_statements}: expected counts from 1")
        if not 0 <= towers <= 1:
            raise ValueError(f"towers is {towers}; expected a share from 0 to 1")
        self.kind, self.num_scenes, self.seed = kind, num_scenes, seed
        self.num_statements, self.towers = num_statements, towers

    def __len__(self) -> int:
        return self.num_scenes

    def record(self, index: int) -> dict[str, Any]:
        """The record at ``index``, the same at every call."""
        rng = Random(f"{self.seed}-{index}")
        scene = make_scene(rng, towers=rng.random() < self.towers)
        name = f"nlvr-shapes-{self.seed}-{index}"
        record = {"where": f"{name}-{self.kind}", "id": name, "image": draw_scene(scene)}
        if self.kind == "statements":
            return record | {"statements": make_statements(rng, scene, self.num_statements)}
        return record | {"elems": [_element(*found) for found in name_items(rng, scene)]}


def make_statements(rng: Random, scene: Scene, count: int) -> list[tuple[str, bool]]:
    """So many statements, each true with a chance of one half."""
    return [make_statement(rng, scene, rng.random() < 0.5) for _ in range(count)]


def make_statement(rng: Random, scene: Scene, truth: bool) -> tuple[str, bool]:
    """A statement that is true (or false) of the scene, with its truth."""
    makers = tower_statements.STATEMENTS if scene.towers else scatter_statements.STATEMENTS
    while True:
        if scene.towers and rng.random() < _BOX_TALK:
            maker = scatter_statements.boxes_with
        else:
            maker = rng.choices(tuple(makers), tuple(makers.values()))[0]
        for _ in range(_TRIES):
            text, meaning = maker(rng)
            if meaning(scene) == truth:
                return text, truth


def name_items(rng: Random, scene: Scene) -> Iterator[tuple[str, Item, int]]:
    """A phrase for every item that one can single out: phrase, item, number of its box from the left."""
    phrases = [(item, slot, _phrases(scene, item, slot)) for slot, box in enumerate(scene.boxes) for item in box]
    counts = Counter(phrase for _, _, of_item in phrases for phrase in of_item)
    for item, slot, of_item in phrases:
        unique = [phrase for phrase in of_item if counts[phrase] == 1]
        if unique:
            yield rng.choice(unique), item, slot


def _phrases(scene: Scene, item: Item, slot: int) -> list[str]:
    """What an item may be called, from the plainest on."""
    if scene.towers:
        tower = scene.boxes[slot]
        level = tower.index(item)
        places = [f"at the {LEVELS[level]}" if level == 0 else f"as the {LEVELS[level]} block"]
        places += ["at the top"] * (level == len(tower) - 1 > 0)
        color = f"{item.color} block"
        return [color, *(f"{color} {place} of the {SLOTS[slot]} tower" for place in places)]
    size, shape = _WORD_OF_SIZE[item.size], item.shape
    plain = [f"{item.color} {shape}", f"{size} {item.color} {shape}", f"{size} {shape}"]
    return plain + [f"{phrase} in the {SLOTS[slot]} box" for phrase in plain[:2]]


def _element(phrase: str, item: Item, slot: int) -> dict[str, Any]:
    return {"bb": box_of(item, slot), "caption": phrase, "kind": "object"}
