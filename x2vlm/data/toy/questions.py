"""Questions about toy scenes, with the answers that follow from the scene.

English. Each function takes a random generator, a scene and the rules of its world, and returns a question with its
answer, or None where the scene allows no such question. Where a question has few answers, the answer is drawn first, so
that none is frequent.
"""

from collections.abc import Callable, Sequence
from random import Random

from x2vlm.data.toy.drawn_shapes import SIZES, Thing
from x2vlm.data.toy.scene import Scene, SceneRules
from x2vlm.data.toy.sentences import Clause, Mention, position_of, render_phrase
from x2vlm.data.toy.vocabulary import POSITIONS

QuestionAnswer = tuple[str, str]
"""A question and its answer."""

_CLEAR = 0.06  # of the side: nearer to a line than this, the side of it is ambiguous


def color_question(rng: Random, scene: Scene, rules: SceneRules) -> QuestionAnswer | None:
    """What color is the large star?"""
    return _attribute_question(rng, scene, "color", lambda thing: thing.color, (("shape",), ("size", "shape")))


def shape_question(rng: Random, scene: Scene, rules: SceneRules) -> QuestionAnswer | None:
    """What shape is the red thing?"""
    return _attribute_question(rng, scene, "shape", lambda thing: thing.shape, (("color",), ("size", "color")))


def size_question(rng: Random, scene: Scene, rules: SceneRules) -> QuestionAnswer | None:
    """What size is the red star?"""
    return _attribute_question(rng, scene, "size", lambda thing: thing.size, (("color", "shape"),))


def _attribute_question(
    rng: Random, scene: Scene, attribute: str, answer: Callable[[Thing], str], ways: Sequence[tuple[str, ...]]
) -> QuestionAnswer | None:
    """A question about one thing that a phrase with these attributes refers to, without the attribute in question."""
    things = scene.things
    candidates = [
        (thing, way)
        for thing in things
        for way in ways
        if sum(_attributes_of(other, way) == _attributes_of(thing, way) for other in things) == 1
    ]
    if not candidates:
        return None
    thing, way = rng.choice(candidates)
    return f"What {attribute} is the {_referring_phrase(thing, way)}?", answer(thing)


def _attributes_of(thing: Thing, way: Sequence[str]) -> tuple[str, ...]:
    return tuple(getattr(thing, name) for name in way)


def _referring_phrase(thing: Thing, way: Sequence[str]) -> str:
    return " ".join([*_attributes_of(thing, way), *([] if "shape" in way else ["thing"])])


def count_question(rng: Random, scene: Scene, rules: SceneRules) -> QuestionAnswer:
    """How many red things are there? Now and then none; half of the time: how many things at all?"""
    if rng.random() < 0.5:
        return "How many things are there?", str(len(scene.things))
    counts = {color: sum(thing.color == color for thing in scene.things) for color in rules.colors}
    answer = rng.choice(sorted(set(counts.values())))
    color = rng.choice([color for color, count in counts.items() if count == answer])
    return f"How many {color} things are there?", str(answer)


def place_question(rng: Random, scene: Scene, rules: SceneRules) -> QuestionAnswer | None:
    """Where is the red star? In one of nine parts of the image; only of things that are clearly in one."""
    third = scene.side / 3
    clear = [
        thing
        for thing in scene.things
        if all(abs(value - line) >= _CLEAR * scene.side for value in thing.center for line in (third, 2 * third))
    ]
    if not clear:
        return None
    thing = rng.choice(clear)
    return f"Where is the {render_phrase(Clause(Mention(thing)))}?", position_of(thing, scene.side)


def exists_question(rng: Random, scene: Scene, rules: SceneRules) -> QuestionAnswer | None:
    """Is there a red star? Where not, there is something else of that colour, or of that shape."""
    things = {(thing.color, thing.shape) for thing in scene.things}
    if rng.random() < 0.5:
        color, shape = rng.choice(sorted(things))
        return f"Is there {_with_article(color)} {shape}?", "yes"
    near = {(color, shape) for color, _ in things for shape in rules.shapes} | {
        (c, shape) for _, shape in things for c in rules.colors
    }
    if not near - things:
        return None
    color, shape = rng.choice(sorted(near - things))
    return f"Is there {_with_article(color)} {shape}?", "no"


def relation_question(rng: Random, scene: Scene, rules: SceneRules) -> QuestionAnswer | None:
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
    word, _, sign = rng.choice([relation for relation in words if relation[1] == axis])
    true = sign * (second.center[axis] - first.center[axis]) > 0
    names = [render_phrase(Clause(Mention(thing))) for thing in (first, second)]
    return f"Is the {names[0]} {word} the {names[1]}?", "yes" if true else "no"


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


QUESTION_MAKERS: dict[str, Callable[[Random, Scene, SceneRules], QuestionAnswer | None]] = {
    "color": color_question,
    "shape": shape_question,
    "size": size_question,
    "count": count_question,
    "place": place_question,
    "exists": exists_question,
    "relation": relation_question,
}
"""The function of every kind of question."""


def possible_answers(kinds: Sequence[str], rules: SceneRules) -> list[str]:
    """Every answer to questions of these kinds (names of :data:`QUESTION_MAKERS`), each once, in a fixed order."""
    by_kind = {
        "color": rules.colors,
        "shape": rules.shapes,
        "size": tuple(SIZES),
        "count": [str(count) for count in range(rules.objects[1] + 1)],
        "place": POSITIONS,
        "exists": ("yes", "no"),
        "relation": ("yes", "no"),
    }
    return list(dict.fromkeys(answer for kind in QUESTION_MAKERS if kind in kinds for answer in by_kind[kind]))
