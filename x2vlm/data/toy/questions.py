"""Questions about toy scenes, whose answers follow from what is in the scene.

English. An asker takes a random generator, a scene and the rules of its world, and gives a question with its answer, or
None where the scene allows no such question. Where a question has few answers, the answer is drawn first, so that none
is frequent.
"""

from collections.abc import Callable, Sequence
from random import Random

from x2vlm.data.toy.drawn_shapes import SIZES, Thing
from x2vlm.data.toy.scene import Scene, SceneRules
from x2vlm.data.toy.sentences import Clause, Mention, phrase, place_of
from x2vlm.data.toy.vocabulary import PLACES

Asked = tuple[str, str]
"""A question and its answer."""

_CLEAR = 0.06  # of the side: nearer to a line than this, nobody can tell on which side of it a thing is


def ask_color(rng: Random, scene: Scene, rules: SceneRules) -> Asked | None:
    """What color is the large star?"""
    return _about(rng, scene, "color", lambda thing: thing.color, (("shape",), ("size", "shape")))


def ask_shape(rng: Random, scene: Scene, rules: SceneRules) -> Asked | None:
    """What shape is the red thing?"""
    return _about(rng, scene, "shape", lambda thing: thing.shape, (("color",), ("size", "color")))


def ask_size(rng: Random, scene: Scene, rules: SceneRules) -> Asked | None:
    """What size is the red star?"""
    return _about(rng, scene, "size", lambda thing: thing.size, (("color", "shape"),))


def _about(
    rng: Random, scene: Scene, asked: str, answer: Callable[[Thing], str], ways: Sequence[tuple[str, ...]]
) -> Asked | None:
    """A question about one thing that can be named, in one of these ways, without saying what is asked."""
    things = scene.things
    known = [
        (thing, way)
        for thing in things
        for way in ways
        if sum(_said(one, way) == _said(thing, way) for one in things) == 1
    ]
    if not known:
        return None
    thing, way = rng.choice(known)
    return f"What {asked} is the {_named(thing, way)}?", answer(thing)


def _said(thing: Thing, way: Sequence[str]) -> tuple[str, ...]:
    return tuple(getattr(thing, name) for name in way)


def _named(thing: Thing, way: Sequence[str]) -> str:
    return " ".join([*_said(thing, way), *([] if "shape" in way else ["thing"])])


def ask_count(rng: Random, scene: Scene, rules: SceneRules) -> Asked:
    """How many red things are there? Now and then none; half of the time: how many things at all?"""
    if rng.random() < 0.5:
        return "How many things are there?", str(len(scene.things))
    counts = {color: sum(thing.color == color for thing in scene.things) for color in rules.colors}
    wanted = rng.choice(sorted(set(counts.values())))
    color = rng.choice([color for color, count in counts.items() if count == wanted])
    return f"How many {color} things are there?", str(wanted)


def ask_place(rng: Random, scene: Scene, rules: SceneRules) -> Asked | None:
    """Where is the red star? In one of nine parts of the picture; only of things that are clearly in one."""
    third = scene.side / 3
    clear = [
        thing
        for thing in scene.things
        if all(abs(value - line) >= _CLEAR * scene.side for value in thing.center for line in (third, 2 * third))
    ]
    if not clear:
        return None
    thing = rng.choice(clear)
    return f"Where is the {phrase(Clause(Mention(thing)))}?", place_of(thing, scene.side)


def ask_exists(rng: Random, scene: Scene, rules: SceneRules) -> Asked | None:
    """Is there a red star? Where not, there is something else of that colour, or of that shape."""
    things = {(thing.color, thing.shape) for thing in scene.things}
    if rng.random() < 0.5:
        color, shape = rng.choice(sorted(things))
        return f"Is there {_a(color)} {shape}?", "yes"
    near = {(color, shape) for color, _ in things for shape in rules.shapes} | {
        (c, shape) for _, shape in things for c in rules.colors
    }
    if not near - things:
        return None
    color, shape = rng.choice(sorted(near - things))
    return f"Is there {_a(color)} {shape}?", "no"


def ask_relation(rng: Random, scene: Scene, rules: SceneRules) -> Asked | None:
    """Is the small red star left of the large blue ring?"""
    words = [("left of", 0, 1), ("right of", 0, -1), ("above", 1, 1), ("below", 1, -1)]
    apart = [
        (first, second, axis)
        for first in scene.things
        for second in scene.things
        for axis in (0, 1)
        if abs(first.center[axis] - second.center[axis]) >= _CLEAR * scene.side
    ]
    if not apart:
        return None
    first, second, axis = rng.choice(apart)
    word, _, sign = rng.choice([one for one in words if one[1] == axis])
    true = sign * (second.center[axis] - first.center[axis]) > 0
    names = [phrase(Clause(Mention(thing))) for thing in (first, second)]
    return f"Is the {names[0]} {word} the {names[1]}?", "yes" if true else "no"


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


ASKERS: dict[str, Callable[[Random, Scene, SceneRules], Asked | None]] = {
    "color": ask_color,
    "shape": ask_shape,
    "size": ask_size,
    "count": ask_count,
    "place": ask_place,
    "exists": ask_exists,
    "relation": ask_relation,
}
"""Every kind of question by name."""


def answers_to(kinds: Sequence[str], rules: SceneRules) -> list[str]:
    """Every answer that questions of these kinds (names of :data:`ASKERS`) can have, each once, in a fixed order."""
    by_kind = {
        "color": rules.colors,
        "shape": rules.shapes,
        "size": tuple(SIZES),
        "count": [str(count) for count in range(rules.objects[1] + 1)],
        "place": PLACES,
        "exists": ("yes", "no"),
        "relation": ("yes", "no"),
    }
    return list(dict.fromkeys(answer for kind in ASKERS if kind in kinds for answer in by_kind[kind]))
