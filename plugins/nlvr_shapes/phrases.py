"""Noun phrases and quantities of a small grammar: the words with what they mean.

Numbers are written in digits or in words. What "touching" means in pixels was read off the labels of the dev split.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from plugins.nlvr_shapes.scenes import COLORS, SHAPES, SIDE, SIZES, Item

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
NEAR = 1  # pixels between a shape and a wall that it still touches


@dataclass(frozen=True)
class Noun:
    """What kind of item is meant: ``singular`` and ``plural`` words, and which items it fits."""

    singular: str
    plural: str
    fits: Callable[[Item], bool]
    color: str | None = None

    def count(self, items: "list[Item] | tuple[Item, ...]") -> int:
        """How many of these items are of the kind."""
        return sum(map(self.fits, items))


@dataclass(frozen=True)
class Quantity:
    """How many: the words, whether a plural follows, and which counts are meant."""

    words: str
    plural: bool
    holds: Callable[[int], bool]

    def of(self, noun: Noun) -> str:
        """The quantity with its noun: "at least two yellow squares"."""
        words = "an" if self.words == "a" and noun.singular[0] in "aeiou" else self.words
        return f"{words} {noun.plural if self.plural else noun.singular}"


def number_word(rng: Random, number: int) -> str:
    """A number from 1 in digits or as a word."""
    return str(number) if rng.random() < 0.4 else WORDS[number]


def make_quantity(rng: Random, most: int = 6, some: bool = True) -> Quantity:
    """A quantity at random; ``some`` includes those that one item satisfies ("a", "at least one")."""
    kind = rng.choices(("a", "number", "exactly", "at least", "only", "no", "more", "less", "at most"), _weights(some))[
        0
    ]
    if kind == "a":
        return Quantity("a", False, lambda n: n >= 1)
    if kind == "no":
        return Quantity("no", rng.random() < 0.3, lambda n: n == 0)
    number = rng.choices(range(1, most + 1), [5, 4, 3, 2, 1, 1, 1, 1][:most])[0]
    if kind in ("more", "less"):
        number = min(max(number, 1 if kind == "more" else 2), most)
        words = f"{kind} than {number_word(rng, number)}"
        return Quantity(words, number > 1, (lambda n: n > number) if kind == "more" else (lambda n: n < number))
    word = number_word(rng, number)
    if kind in ("at least", "at most"):
        words = f"{rng.choice(('at least', 'atleast')) if kind == 'at least' else kind} {word}"
        return Quantity(words, number > 1, (lambda n: n >= number) if kind == "at least" else (lambda n: n <= number))
    if kind == "number":
        # "There is one", "there are two": of a bare number people mean exactly so many more often than not.
        return Quantity(word, number > 1, lambda n: n == number)
    return Quantity(f"{kind} {word}", number > 1, lambda n: n == number)


def _weights(some: bool) -> tuple[int, ...]:
    return (28 if some else 0, 14, 10, 12, 4, 3, 1, 1, 1)


def make_noun(rng: Random, towers: bool, colored: float = 0.75) -> Noun:
    """A kind of item at random: of a colour or not, of a shape or not, sometimes of a size."""
    color = rng.choice(tuple(COLORS)) if rng.random() < colored else None
    shape, size = None, None
    if not towers:
        shape = rng.choice(SHAPES) if rng.random() < 0.5 else None
        size = rng.choice(tuple(SIZES)) if rng.random() < 0.08 else None
    noun = shape or rng.choice(("block",) * 5 + ("item",) if towers else ("item", "object"))
    return noun_of(noun, color, shape, size)


def noun_of(noun: str, color: str | None = None, shape: str | None = None, size: str | None = None) -> Noun:
    """The kind of item with this noun, and these properties where they are given."""
    words = " ".join(word for word in (size, color, noun) if word)

    def fits(item: Item) -> bool:
        return (
            (color is None or item.color == color)
            and (shape is None or item.shape == shape)
            and (size is None or item.size == SIZES[size])
        )

    return Noun(words, f"{words}s", fits, color)


def touches_wall(item: Item) -> bool:
    """Whether it touches any of the four walls of its box."""
    return touches_side(item) or touches_floor(item) or touches_ceiling(item)


def touches_side(item: Item) -> bool:
    """Whether it touches the left or the right wall."""
    return item.x <= NEAR or touches_right(item)


def touches_right(item: Item) -> bool:
    """Whether it touches the right wall."""
    return item.right >= SIDE - NEAR


def touches_floor(item: Item) -> bool:
    """Whether it touches the lower wall."""
    return item.bottom >= SIDE - NEAR


def touches_ceiling(item: Item) -> bool:
    """Whether it touches the upper wall."""
    return item.y <= NEAR


def touches_corner(item: Item) -> bool:
    """Whether it touches two walls that meet."""
    return touches_side(item) and (touches_floor(item) or touches_ceiling(item))


Touch = tuple[tuple[str, ...], Callable[[Item], bool], int]

TOUCHES: tuple[Touch, ...] = (
    (
        (
            *("the edge", "the wall", "any edge", "an edge", "a edge", "the side", "a wall"),
            *("the edge of the box", "the wall of a box", "a wall of a box", "the side of the box"),
        ),
        touches_wall,
        10,
    ),
    (("the base", "the bottom of a box", "the bottom base", "the bottom", "the bottom of the box"), touches_floor, 5),
    (("a corner", "the corner", "a corner of a box", "a box corner", "the corner of the box"), touches_corner, 3),
    (("right wall of a box", "the right wall", "right wall of the box"), touches_right, 2),
    (("the roof of a box", "the top of a box", "the top wall"), touches_ceiling, 1),
)
"""What an item can touch: the words, whether it does, and how often it is said."""


def make_touch(rng: Random) -> tuple[str, Callable[[Item], bool]]:
    """A phrase such as "not touching the wall" or "closely touching a corner", and which items it fits."""
    words, fits, _ = rng.choices(TOUCHES, [often for _, _, often in TOUCHES])[0]
    if fits is touches_wall and rng.random() < 0.35:
        return f"not touching {rng.choice(words)}", lambda item: not fits(item)
    return f"{rng.choice(('', '', 'closely ', 'nearly '))}touching {rng.choice(words)}", fits
