"""Drawn scenes in the geometry of NLVR v1 with true and false statements, or with phrases for single shapes.

Nothing is stored: record ``index`` is a function of (seed, index), the same in every process.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from plugins.nlvr_shapes import scatter_statements, tower_statements
from plugins.nlvr_shapes.scenes import SIZES, Item, Scene, box_of, draw_scene, make_scene
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.options import check_names
from x2vlm.registry import DATASETS

KINDS = ("statements", "phrases")
GRAMMARS = ("all", "first")
SLOTS = ("left", "middle", "right")
LEVELS = ("base", "second", "third", "fourth")
_WORD_OF_SIZE = {size: word for word, size in SIZES.items()}
_TRIES = 15  # sentences made for each that is wanted
_REARRANGED = 0.3  # share of the pairs
_BOX_TALK = 0.15  # share of the statements about towers that call them boxes with items


@DATASETS.register_module()
class NlvrShapes(Adapter):
    """Scenes of coloured shapes, drawn as they are asked for.

    ``kind="statements"``: ``statements`` holds pairs of a sentence and its truth. Scenes come in pairs (records 2n and
    2n + 1) with the same sentences, each true of one and false of the other: so the words alone say nothing about the
    truth. In some pairs the second scene is the first with its colours in other places.

    ``kind="phrases"``: ``elems`` holds a phrase and the exact box of each shape that a phrase can single out.

    Args:
        kind: ``statements`` or ``phrases``.
        num_scenes: Length of the data set.
        seed: Another seed gives other scenes.
        num_statements: Statements of each scene.
        grammar: ``all``, or ``first``: a few sentences with few words. While nothing is known of words and shapes, what
            one sentence teaches is drowned by the thousand others.
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
        grammar: str = "all",
        towers: float = 0.6,
        pipeline: Sequence[dict | Callable] = (),
    ) -> None:
        super().__init__(pipeline)
        check_names([kind], KINDS, "NlvrShapes: kind has no")
        check_names([grammar], GRAMMARS, "NlvrShapes: grammar has no")
        if min(num_scenes, num_statements) < 1:
            raise ValueError(f"num_scenes={num_scenes}, num_statements={num_statements}: expected counts from 1")
        if not 0 <= towers <= 1:
            raise ValueError(f"towers is {towers}; expected a share from 0 to 1")
        self.kind, self.num_scenes, self.seed = kind, num_scenes, seed
        self.num_statements, self.grammar, self.towers = num_statements, grammar, towers

    def __len__(self) -> int:
        return self.num_scenes

    def record(self, index: int) -> dict[str, Any]:
        """The record at ``index``, the same at every call."""
        rng = Random(f"{self.seed}-{index // 2}")  # of the pair
        scenes, statements = make_pair(rng, towers=rng.random() < self.towers), []
        while self.kind == "statements" and not statements:
            statements = make_statements(rng, scenes, self.num_statements, self.grammar)
            scenes = scenes if statements else make_pair(rng, scenes[0].towers)
        scene, name = scenes[index % 2], f"nlvr-shapes-{self.seed}-{index}"
        record = {"where": f"{name}-{self.kind}", "id": name, "image": draw_scene(scene)}
        if self.kind == "statements":
            return record | {"statements": [(text, truths[index % 2]) for text, truths in statements]}
        return record | {"elems": [_element(*found) for found in name_items(rng, scene)]}


def make_pair(rng: Random, towers: bool) -> tuple[Scene, Scene]:
    """Two scenes, of which the second is sometimes the first with its colours in other places."""
    scene = make_scene(rng, towers)
    if rng.random() >= _REARRANGED:
        return scene, make_scene(rng, towers)
    colors = [item.color for item in scene.items]
    rng.shuffle(colors)
    left = iter(colors)
    boxes = tuple(tuple(replace(item, color=next(left)) for item in box) for box in scene.boxes)
    return scene, Scene(boxes, towers)


def make_statements(
    rng: Random, scenes: tuple[Scene, Scene], count: int, grammar: str = "all"
) -> list[tuple[str, tuple[bool, bool]]]:
    """Up to so many sentences that are true of one of two scenes and false of the other; with the truth of each.

    Scenes that differ in little give fewer; those that do not differ, none.
    """
    towers = scenes[0].towers
    statements = tower_statements if towers else scatter_statements
    makers = statements.STATEMENTS if grammar == "all" else statements.FIRST_STATEMENTS
    names, often = tuple(makers), tuple(makers.values())
    found = {}
    for _ in range(_TRIES * count):
        boxes = towers and grammar == "all" and rng.random() < _BOX_TALK
        text, meaning = (scatter_statements.boxes_with if boxes else rng.choices(names, often)[0])(rng)
        truths = (meaning(scenes[0]), meaning(scenes[1]))
        if truths[0] != truths[1]:
            found[text] = truths
        if len(found) == count:
            break
    return list(found.items())


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
