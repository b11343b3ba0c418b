"""Statements about boxes of scattered shapes: a sentence and what it means, as a function of the scene."""

from collections.abc import Callable
from random import Random

from plugins.nlvr_shapes.phrases import (
    WORDS,
    Noun,
    make_noun,
    make_quantity,
    make_touch,
    noun_of,
    number_word,
    touches_wall,
)
from plugins.nlvr_shapes.scenes import COLORS, SHAPES, Item, Scene

Meaning = Callable[[Scene], bool]
Statement = tuple[str, Meaning]
Box = tuple[Item, ...]
BoxProperty = tuple[str, Callable[[Box], bool]]

GREY = ("box", "box", "box", "grey box", "grey square")


def verb(plural: bool) -> str:
    """The beginning of a sentence that says that something is there."""
    return "there are" if plural else "there is"


def items_in_scene(rng: Random) -> Statement:
    """There are exactly two blue squares."""
    quantity, noun = make_quantity(rng), make_noun(rng, towers=False)
    text = f"{verb(quantity.plural)} {quantity.of(noun)}"
    return text, lambda scene: quantity.holds(noun.count(scene.items))


def items_touching(rng: Random) -> Statement:
    """There is exactly one black circle not touching the edge."""
    quantity, noun = make_quantity(rng, most=5), make_noun(rng, towers=False)
    words, touches = make_touch(rng)
    beginning = rng.choice((verb(quantity.plural),) * 6 + ("",))
    copula = "" if beginning else ("are " if quantity.plural else "is ")
    text = f"{beginning} {quantity.of(noun)} {copula}{words}".strip()
    return text, lambda scene: quantity.holds(sum(noun.fits(item) and touches(item) for item in scene.items))


def all_items(rng: Random) -> Statement:
    """None of the blue circles are touching the edge. All yellow items are touching the wall."""
    noun, (words, touches) = make_noun(rng, towers=False), make_touch(rng)
    if rng.random() < 0.5:
        text = f"none of the {noun.plural} are {words}"
        return text, lambda scene: not any(noun.fits(item) and touches(item) for item in scene.items)
    text = f"{rng.choice(('all', 'all the'))} {noun.plural} are {words}"
    return text, lambda scene: all(touches(item) for item in scene.items if noun.fits(item))


def items_of_one_box(rng: Random) -> Statement:
    """All blue items are in the same box."""
    noun = make_noun(rng, towers=False)
    text = f"all {noun.plural} are in the same box"
    return text, lambda scene: sum(noun.count(box) > 0 for box in scene.boxes) == 1


def boxes_with(rng: Random) -> Statement:
    """There are two boxes with a black circle and two yellow items."""
    words, has = make_box_property(rng)
    beginning, holds, plural = _boxes(rng)
    link = rng.choice(("with",) * 4 + (("that have", "which have") if plural else ("that has", "which has")))
    if beginning.startswith(("one of", "at least one of", "each", "two of", "at least one grey")):
        link = rng.choice(("has", "contains")) if not plural else "have"
    return f"{beginning} {link} {words}", lambda scene: holds(sum(map(has, scene.boxes)))


def in_each_box(rng: Random) -> Statement:
    """There is at least one yellow item in each box."""
    quantity, noun = make_quantity(rng, most=3), make_noun(rng, towers=False)
    text = f"{verb(quantity.plural)} {quantity.of(noun)} in each {rng.choice(GREY)}"
    return text, lambda scene: all(quantity.holds(noun.count(box)) for box in scene.boxes)


def same_number(rng: Random) -> Statement:
    """There are two boxes that have the same number of objects."""
    noun = make_noun(rng, towers=False, colored=0.3)
    text = f"there are two boxes {rng.choice(('that have', 'which have', 'with', 'that has'))} the same number of "
    return text + noun.plural, lambda scene: len({noun.count(box) for box in scene.boxes}) < 3


def _boxes(rng: Random) -> tuple[str, Callable[[int], bool], bool]:
    """How many boxes: words, which counts are meant, and whether a plural verb follows."""
    box = rng.choice(GREY)
    several = box.replace("box", "boxes").replace("square", "squares")
    return rng.choices(
        (
            (f"there is {rng.choice(('a', 'a', 'a', 'one', '1'))} {box}", lambda n: n >= 1, False),
            (f"there is at least {rng.choice(('1', 'one'))} {box}", lambda n: n >= 1, False),
            (f"one of the {rng.choice((box, several))}", lambda n: n >= 1, False),
            (f"at least one {rng.choice(('', 'of the '))}{box}", lambda n: n >= 1, False),
            (f"there are {rng.choice(('2', 'two'))} {several}", lambda n: n == 2, True),
            (f"there are at least {rng.choice(('2', 'two'))} {several}", lambda n: n >= 2, True),
            (f"there is {rng.choice(('only', 'exactly'))} {rng.choice(('1', 'one'))} {box}", lambda n: n == 1, False),
            (f"each {box}", lambda n: n == 3, False),
            (f"there is no {box}", lambda n: n == 0, False),
        ),
        (12, 3, 4, 2, 4, 1, 2, 3, 1),
    )[0]


def make_box_property(rng: Random) -> BoxProperty:
    """What a box can hold, at random."""
    return rng.choices(_PROPERTIES, _OFTEN)[0](rng)


def _counted(rng: Random) -> BoxProperty:
    noun, quantity = make_noun(rng, towers=False), make_quantity(rng, most=4)
    if rng.random() < 0.12:
        words, touches = make_touch(rng)
        text = f"{quantity.of(noun)} {words}"
        return text, lambda box: quantity.holds(sum(noun.fits(item) and touches(item) for item in box))
    return quantity.of(noun), lambda box: quantity.holds(noun.count(box))


def _several_counted(rng: Random) -> BoxProperty:
    parts = [_at_least_counted(rng) for _ in range(rng.choice((2, 2, 2, 3)))]
    words = [text for text, _ in parts]
    text = f"{', '.join(words[:-1])} and {words[-1]}"
    return text, lambda box: all(has(box) for _, has in parts)


def _at_least_counted(rng: Random) -> BoxProperty:
    """A kind and a number, as in a list, where "two squares" does not exclude a third."""
    noun = make_noun(rng, towers=False, colored=0.9)
    number = rng.choices((1, 2, 3, 4), (8, 5, 2, 1))[0]
    if rng.random() < 0.2:
        words = f"at least {number_word(rng, number)} {noun.plural if number > 1 else noun.singular}"
    elif number == 1:
        words = f"{rng.choice(('a', 'a', 'one', '1'))} {noun.singular}"
    else:
        words = f"{number_word(rng, number)} {noun.plural}"
    return words, lambda box: noun.count(box) >= number


def _number_of_items(rng: Random) -> BoxProperty:
    number, thing = rng.randint(1, 7), rng.choice(("item", "object"))
    words = rng.choice(("exactly ", "only ", "", "", "exactly ")) + number_word(rng, number)
    if number == 1 and rng.random() < 0.15:
        words = rng.choice(("a single", "just 1"))
    return f"{words} {thing}{'s' if number > 1 else ''}", lambda box: len(box) == number


def _items_of_which(rng: Random) -> BoxProperty:
    """Four items of which two are black; three items and a blue one touching the wall."""
    total = rng.randint(2, 7)
    items = f"{rng.choice(('', '', 'exactly '))}{number_word(rng, total)} {rng.choice(('items', 'items', 'objects'))}"
    if rng.random() < 0.25:
        color = rng.choice(tuple(COLORS))
        one = rng.choice((f"a {color} item", f"a {color} one"))
        text = f"{items} and {one} touching the wall"
        return text, lambda box: len(box) == total and any(i.color == color and touches_wall(i) for i in box)
    part = rng.randint(1, min(total, 4))
    if rng.random() < 0.75:
        kind = rng.choice(tuple(COLORS))
        noun, what = noun_of("item", kind), kind
    else:
        shape = rng.choice(SHAPES)
        noun, what = noun_of(shape, None, shape), f"{shape}s" if part > 1 else f"a {shape}"
    text = f"{items} of which {number_word(rng, part)} {'are' if part > 1 else 'is'} {what}"
    return text, lambda box: len(box) == total and noun.count(box) == part


def _colors(rng: Random) -> BoxProperty:
    """Items of two different colors; four items of all three different colors; items of only one color."""
    number, word = rng.randint(1, 3), rng.choice(("color", "colour"))
    total = rng.randint(2, 7) if rng.random() < 0.5 else None
    items = f"{number_word(rng, total)} items" if total else "items"
    written = rng.choice((str(number), WORDS[number]))
    if number == 1:
        text = rng.choice((f"{items} of only one {word}", f"{items} of the same {word}", f"only one {word}"))
        items_counted = total if text.startswith(items) else None
    else:
        which = f"all {written}" if number == 3 and rng.random() < 0.6 else rng.choice((written, f"only {written}"))
        text, items_counted = f"{items} of {which} different {word}s", total
    return text, lambda box: len({i.color for i in box}) == number and items_counted in (None, len(box))


def _only_colors(rng: Random) -> BoxProperty:
    """Only black and yellow items; three items of only blue and yellow color; only blue items."""
    if rng.random() < 0.35:
        noun = make_noun(rng, towers=False, colored=0.7)
        return f"only {noun.plural}", lambda box: all(map(noun.fits, box))
    first, second = rng.sample(tuple(COLORS), 2)
    total = rng.randint(2, 6) if rng.random() < 0.4 else None
    if total:
        text = f"{number_word(rng, total)} items of {rng.choice(('only ', ''))}{first} and {second} color"
    else:
        text = rng.choice((f"only {first} and {second} items", f"items of only {first} and {second} color"))
    return text, lambda box: {i.color for i in box} == {first, second} and total in (None, len(box))


def _on_top(rng: Random) -> BoxProperty:
    """Three items and a black item on top: the highest one."""
    noun: Noun = make_noun(rng, towers=False, colored=1.0)
    total = rng.randint(2, 6) if rng.random() < 0.5 else None
    beginning = f"{number_word(rng, total)} items and " if total else ""

    def has(box: Box) -> bool:
        highest = min((item.y for item in box), default=0)
        return total in (None, len(box)) and any(noun.fits(item) and item.y == highest for item in box)

    return f"{beginning}a {noun.singular} on top", has


_PROPERTIES = (_counted, _several_counted, _number_of_items, _items_of_which, _colors, _only_colors, _on_top)
_OFTEN = (8, 8, 4, 3, 3, 3, 1)

STATEMENTS: dict[Callable[[Random], Statement], int] = {
    items_in_scene: 4,
    items_touching: 10,
    all_items: 1,
    items_of_one_box: 1,
    boxes_with: 14,
    in_each_box: 1,
    same_number: 1,
}
"""Makers of statements about scattered shapes, and how often each is used."""


def one_item(rng: Random) -> Statement:
    """There is a blue square."""
    shape, color = rng.choice(SHAPES), rng.choice(tuple(COLORS))
    noun = noun_of(shape, color, shape)
    return f"there is a {noun.singular}", lambda scene: noun.count(scene.items) > 0


FIRST_STATEMENTS: dict[Callable[[Random], Statement], int] = {one_item: 1}
"""A few sentences with few words, to begin with."""
