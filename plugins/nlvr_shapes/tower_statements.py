"""Statements about towers of blocks: a sentence and what it means, as a function of the scene.

A tower is a tuple of its blocks from the base to the top.
"""

import itertools
from collections.abc import Callable
from random import Random

from plugins.nlvr_shapes.phrases import WORDS, Noun, make_noun, make_quantity, noun_of, number_word
from plugins.nlvr_shapes.scatter_statements import Statement, verb
from plugins.nlvr_shapes.scenes import COLORS, Item

Tower = tuple[Item, ...]
TowerProperty = tuple[str, Callable[[Tower], bool]]

OVER = ("over", "above", "on", "on top of")


def blocks_in_scene(rng: Random) -> Statement:
    """There are 3 black blocks."""
    quantity, noun = make_quantity(rng), make_noun(rng, towers=True, colored=0.9)
    text = f"{verb(quantity.plural)} {quantity.of(noun)}"
    return text, lambda scene: quantity.holds(noun.count(scene.items))


def block_over_block(rng: Random) -> Statement:
    """There is a black block over a blue block; no yellow block below a blue block."""
    quantity, (words, has) = make_quantity(rng, most=3), _over(rng)
    first, rest = words.removeprefix("a ").split(" block", 1)
    block = Noun(f"{first} block", f"{first} blocks", lambda item: True)
    text = f"{verb(quantity.plural)} {quantity.of(block)}{rest}"
    return text, lambda scene: quantity.holds(sum(map(has, scene.boxes)))


def ends_of_towers(rng: Random) -> Statement:
    """There are exactly two yellow blocks as the base of a tower with at least two blocks."""
    quantity, color = make_quantity(rng, most=3), rng.choice(tuple(COLORS))
    end, at = _end(rng)
    text = f"{verb(quantity.plural)} {quantity.of(noun_of('block', color))} as the {end} of a tower"
    size: TowerProperty = ("", lambda tower: True)
    if rng.random() < 0.5:
        words, fits = _height(rng)
        size = (f" with {words}", fits)
    return text + size[0], lambda scene: quantity.holds(
        sum(size[1](tower) and tower[at].color == color for tower in scene.boxes)
    )


def base_of_towers(rng: Random) -> Statement:
    """There is a black block as the base of at least two towers."""
    color, (end, at) = rng.choice(tuple(COLORS)), _end(rng)
    quantity = make_quantity(rng, most=3, some=False)
    text = f"there is a {color} block as the {end} of {quantity.of(noun_of('tower'))}"
    return text, lambda scene: quantity.holds(sum(tower[at].color == color for tower in scene.boxes))


def towers_with(rng: Random) -> Statement:
    """There are exactly two towers with a blue block at the base."""
    quantity, (words, has) = make_quantity(rng, most=3), make_tower_property(rng)
    link = rng.choice(("with",) * 6 + ("having", "which has", "that has", "that have", "that contain"))
    text = f"{verb(quantity.plural)} {quantity.of(noun_of('tower'))} {link} {words}"
    return text, lambda scene: quantity.holds(sum(map(has, scene.boxes)))


def the_tower(rng: Random) -> Statement:
    """The tower with four blocks has a yellow block at the top."""
    (size, fits), (words, has) = _height(rng), make_tower_property(rng, heights=False)
    return f"the tower with {size} has {words}", lambda scene: _all_that_fit(scene.boxes, fits, has)


def the_end(rng: Random) -> Statement:
    """The top of the three blocks tower is blue; the base of a four blocks tower is yellow."""
    height, (end, at), color = rng.randint(1, 4), _end(rng), rng.choice(tuple(COLORS))
    size = f"{rng.choice((str(height), WORDS[height]))} block{'s' if height > 1 else ''} tower"
    text = f"the {end} of {rng.choice(('a', 'the'))} {size} is {color}"
    return text, lambda scene: _all_that_fit(
        scene.boxes, lambda tower: len(tower) == height, lambda tower: tower[at].color == color
    )


def some_of_the_towers(rng: Random) -> Statement:
    """Two of the three towers have a black base; all 3 towers have a blue block."""
    words, has = make_tower_property(rng)
    number = rng.randint(1, 3)
    beginning = {
        1: rng.choice(("one of the three towers has", "one of the tower has", "one tower has", "one tower contains")),
        2: rng.choice(("two of the three towers have", "two of the towers have", "two towers have")),
        3: rng.choice(("all 3 towers have", "all three towers have", "all the towers have", "each tower has")),
    }[number]
    return (
        f"{beginning} {words}",
        lambda scene: sum(map(has, scene.boxes)) >= 1 if number == 1 else sum(map(has, scene.boxes)) == number,
    )


def in_each_tower(rng: Random) -> Statement:
    """There is at least 1 black block in each tower."""
    quantity, noun = make_quantity(rng, most=3), make_noun(rng, towers=True, colored=0.95)
    text = f"{verb(quantity.plural)} {quantity.of(noun)} in each tower"
    return text, lambda scene: all(quantity.holds(noun.count(tower)) for tower in scene.boxes)


def colored_tower(rng: Random) -> Statement:
    """There is a yellow tower with only one block; there is a two blocks tower that has only one color."""
    height = rng.randint(1, 4) if rng.random() < 0.6 else None
    blocks = f"{rng.choice(('only ', 'exactly ', ''))}{number_word(rng, height)} block" if height else ""
    blocks += "s" if height and height > 1 else ""
    if rng.random() < 0.5 or height is None:
        color = rng.choice(tuple(COLORS))
        text = f"there is a {color} tower" + (f" with {blocks}" if blocks else "")
        return text, lambda scene: any(
            height in (None, len(tower)) and all(block.color == color for block in tower) for tower in scene.boxes
        )
    size = f"{WORDS[height]} block{'s' if height > 1 else ''}"
    text = f"there is a {size} tower{rng.choice(('', ' that has only one color', ' and only one color'))}"
    one_color = "color" in text
    return text, lambda scene: any(
        len(tower) == height and (not one_color or _num_colors(tower) == 1) for tower in scene.boxes
    )


def alike_towers(rng: Random) -> Statement:
    """There are two towers with the same height; there are at least two towers with the same base color."""
    what, key = rng.choice(
        (
            ("height", len),
            ("number of blocks", len),
            ("base color", lambda tower: tower[0].color),
            ("top color", lambda tower: tower[-1].color),
        )
    )
    beginning, holds = rng.choice(
        (
            ("there are two towers", lambda kinds: kinds < 3),
            ("there are at least two towers", lambda kinds: kinds < 3),
            ("there are exactly two towers", lambda kinds: kinds == 2),
            ("there are only two towers", lambda kinds: kinds == 2),
        )
    )
    text = f"{beginning} {rng.choice(('with', 'that has', 'which has', 'that have'))} the same {what}"
    return text, lambda scene: holds(len({key(tower) for tower in scene.boxes}))


def make_tower_property(rng: Random, heights: bool = True) -> TowerProperty:
    """What can be true of a tower, at random; without ``heights``, nothing about its number of blocks."""
    makers = dict(_PROPERTIES)
    if not heights:
        makers = {maker: often for maker, often in makers.items() if maker not in (_height, _height_and)}
    return rng.choices(tuple(makers), tuple(makers.values()))[0](rng)


def _end(rng: Random) -> tuple[str, int]:
    """The word for the lowest or the highest block, with the index of that block."""
    return rng.choice((("base", 0), ("top", -1)))


def _at_end(rng: Random) -> TowerProperty:
    """A blue block at the base; a yellow top."""
    color, (end, at) = rng.choice(tuple(COLORS)), _end(rng)
    place = rng.choice((end, end, end, "bottom")) if at == 0 else end
    one = rng.choice(("a", "a", "a", "a", "1", "one"))
    text = rng.choice(
        (f"{one} {color} block at the {place}",) * 5 + (f"{one} {color} block at {end}", f"a {color} {end}")
    )
    return text, lambda tower: tower[at].color == color


def _at_level(rng: Random) -> TowerProperty:
    """A black block as the second block; a blue block in the middle."""
    color, level = rng.choice(tuple(COLORS)), rng.choice((1, 1, 2))
    word = ("second", "third")[level - 1]
    text = rng.choice(
        (f"a {color} block as the {word} block", f"{color} {word} block", f"a {color} block as the {word} level")
    )
    return text, lambda tower: len(tower) > level and tower[level].color == color


def _counted(rng: Random) -> TowerProperty:
    quantity, noun = make_quantity(rng, most=3), make_noun(rng, towers=True, colored=1.0)
    return quantity.of(noun), lambda tower: quantity.holds(noun.count(tower))


def _several_counted(rng: Random) -> TowerProperty:
    """A black block and two blue blocks."""
    colors = rng.sample(tuple(COLORS), rng.choice((2, 2, 3)))
    numbers = [rng.choice((1, 1, 2)) for _ in colors]
    words = [
        f"{rng.choice(('a', 'a', '1', 'one'))} {color} block"
        if number == 1
        else f"{number_word(rng, number)} {color} blocks"
        for color, number in zip(colors, numbers, strict=True)
    ]
    text = f"{', '.join(words[:-1])} and {words[-1]}"
    return text, lambda tower: all(
        sum(block.color == color for block in tower) >= number for color, number in zip(colors, numbers, strict=True)
    )


def _height(rng: Random) -> TowerProperty:
    """Exactly three blocks; at least two blocks; only one block."""
    number = rng.randint(1, 4)
    blocks = "block" if number == 1 else "blocks"
    kind = rng.choice(("exactly ", "exactly ", "only ", "", "", "at least ", "more than ", "at most "))
    if number == 1 and kind in ("", "only "):
        return rng.choice(("only one block", "a single block", "one block")), lambda tower: len(tower) == 1
    text = f"{kind}{number_word(rng, number)} {blocks}"
    if kind == "at least ":
        return text, lambda tower: len(tower) >= number
    if kind == "more than ":
        return text, lambda tower: len(tower) > number
    if kind == "at most ":
        return text, lambda tower: len(tower) <= number
    return text, lambda tower: len(tower) == number


def _height_and(rng: Random) -> TowerProperty:
    """Exactly three blocks with a blue block at the top."""
    (size, fits), (words, has) = _height(rng), make_tower_property(rng, heights=False)
    link = rng.choice(("with", "having", "which has", "and"))
    return f"{size} {link} {words}", lambda tower: fits(tower) and has(tower)


def _over(rng: Random) -> TowerProperty:
    """A black block over a blue block, directly; "above" and "below" mean the same."""
    upper, lower = rng.choice(tuple(COLORS)), rng.choice(tuple(COLORS))
    if rng.random() < 0.1:
        text = f"a {lower} block below a {upper} block"
    else:
        text = f"a {upper} block {rng.choice(OVER)} {rng.choice(('a', 'a', 'a', 'the'))} {lower} block"
    return text, lambda tower: any(
        below.color == lower and above.color == upper for below, above in itertools.pairwise(tower)
    )


def _only_colors(rng: Random) -> TowerProperty:
    """Only blue and black blocks; only yellow blocks."""
    number = rng.choice((1, 2))
    colors = rng.sample(tuple(COLORS), number)
    return f"only {' and '.join(colors)} blocks", lambda tower: {block.color for block in tower} == set(colors)


def _colors(rng: Random) -> TowerProperty:
    """Blocks of all three colors; three blocks of the same color; blocks of two different colors."""
    word = rng.choice(("color", "colour"))
    if rng.random() < 0.5:
        height = rng.randint(2, 4)
        text = f"{number_word(rng, height)} blocks of the same {word}"
        return text, lambda tower: len(tower) == height and _num_colors(tower) == 1
    number = rng.choice((2, 3))
    written = rng.choice((str(number), WORDS[number]))
    every = "all " if number == 3 and rng.random() < 0.6 else ""
    text = f"blocks of {every}{written} {rng.choice(('', 'different '))}{word}s"
    return text, lambda tower: _num_colors(tower) == number


def _stacked(rng: Random) -> TowerProperty:
    """2 blue blocks stacked together."""
    color = rng.choice(tuple(COLORS))
    text = f"{rng.choice(('2', 'two'))} {color} blocks {rng.choice(('stacked together', 'attached with each other'))}"
    return text, lambda tower: any(one.color == other.color == color for one, other in itertools.pairwise(tower))


def _num_colors(tower: Tower) -> int:
    return len({block.color for block in tower})


def _all_that_fit(towers: tuple[Tower, ...], fits: Callable[[Tower], bool], has: Callable[[Tower], bool]) -> bool:
    """Whether there is such a tower and all such towers have the property."""
    chosen = [tower for tower in towers if fits(tower)]
    return bool(chosen) and all(map(has, chosen))


_PROPERTIES = {
    _at_end: 10,
    _counted: 8,
    _over: 5,
    _height: 5,
    _height_and: 5,
    _several_counted: 3,
    _only_colors: 2,
    _colors: 2,
    _at_level: 2,
    _stacked: 1,
}

STATEMENTS: dict[Callable[[Random], Statement], int] = {
    towers_with: 14,
    ends_of_towers: 8,
    block_over_block: 6,
    blocks_in_scene: 3,
    the_tower: 3,
    some_of_the_towers: 3,
    the_end: 1,
    base_of_towers: 1,
    in_each_tower: 1,
    colored_tower: 2,
    alike_towers: 1,
}
"""Makers of statements about towers, and how often each is used."""


def one_end(rng: Random) -> Statement:
    """There is a tower with a black block at the base."""
    color, (end, at) = rng.choice(tuple(COLORS)), _end(rng)
    text = f"there is a tower with a {color} block at the {end}"
    return text, lambda scene: any(tower[at].color == color for tower in scene.boxes)


def one_height(rng: Random) -> Statement:
    """There is a tower with exactly three blocks."""
    height = rng.randint(1, 4)
    text = f"there is a tower with exactly {WORDS[height]} block{'s' if height > 1 else ''}"
    return text, lambda scene: any(len(tower) == height for tower in scene.boxes)


FIRST_STATEMENTS: dict[Callable[[Random], Statement], int] = {one_end: 3, one_height: 1}
"""A few sentences with few words, to begin with."""
