"""Captions and phrases of toy scenes in English, German and Chinese, by template.

A ``CaptionPlan`` holds the content without a language; ``render_caption`` and ``render_phrase`` put it into one. So the
languages agree by construction. Captions have capitals and commas; the ordinary clean-up applies to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from x2vlm.data.toy.drawn_shapes import Thing
from x2vlm.data.toy.vocabulary import (
    ARTICLE_ZH,
    ARTICLES,
    AT_ZH,
    BARE_ENDINGS,
    CHINESE,
    COMMA_ZH,
    ENDINGS,
    GENDERS,
    GERMAN,
    OF_ZH,
    WORDS,
)

LANGUAGES = ("en", "de", "zh")

_MAX_WORDS = 30  # of an English caption of up to six things: the usual limit of caption clean-up


@dataclass(frozen=True)
class Mention:
    """A thing as a phrase mentions it.

    Attributes:
        thing: Which thing.
        with_size: Its size is mentioned too.
    """

    thing: Thing
    with_size: bool = True


@dataclass(frozen=True)
class Clause:
    """A thing and where it is or goes.

    Attributes:
        subject: What the clause is about.
        word: A position ("top left"), a relation to ``other`` ("left of"), a motion ("moves up"), or None.
        other: The second thing of a relation.
    """

    subject: Mention
    word: str | None = None
    other: Mention | None = None


@dataclass(frozen=True)
class CaptionPlan:
    """The content of a caption of a whole scene: every thing once, after an opening ("here", "there" or none)."""

    clauses: tuple[Clause, ...]
    opening: str | None = None


def position_of(thing: Thing, side: int) -> str:
    """In which ninth of the image the middle of ``thing`` lies: "top left", ..., "middle", ..., "bottom right"."""
    column, row = (min(int(3 * value / side), 2) for value in thing.center)
    words = (("top", "", "bottom")[row], ("left", "", "right")[column])
    return " ".join(filter(None, words)) or "middle"


def relation_of(first: Thing, second: Thing) -> str:
    """Where ``first`` is relative to ``second``, along the axis on which they are further apart."""
    dx, dy = (b - a for a, b in zip(first.center, second.center, strict=True))
    if abs(dx) >= abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"


def plan_caption(rng: Random, things: Sequence[Thing], side: int) -> CaptionPlan:
    """A caption of a still scene: size, colour and shape of every thing, and the position of some."""
    waiting = [Mention(thing) for thing in rng.sample(things, len(things))]
    spare = _MAX_WORDS - 4 * len(things) - 1
    opening = rng.choice((None, None, "here", "there")) if spare >= 2 else None
    spare -= 2 if opening else 0
    clauses = []
    while waiting:
        subject, choice = waiting.pop(), rng.random()
        if spare < 4 or choice < 0.2:
            clauses.append(Clause(subject))
            continue
        spare -= 4
        if choice < 0.6 and waiting:
            other = waiting.pop()
            clauses.append(Clause(subject, relation_of(subject.thing, other.thing), other))
        else:
            clauses.append(Clause(subject, position_of(subject.thing, side)))
    return CaptionPlan(tuple(clauses), opening)


def plan_ordered_caption(things: Sequence[Thing]) -> CaptionPlan:
    """A caption with size, colour and shape of every thing, from left to right."""
    return CaptionPlan(tuple(Clause(Mention(thing)) for thing in sorted(things, key=lambda thing: thing.center)))


def plan_motion_caption(rng: Random, things: Sequence[Thing]) -> CaptionPlan:
    """A caption with the motion of every thing of a clip, in random order."""
    order = rng.sample(things, len(things))
    return CaptionPlan(tuple(Clause(Mention(thing), f"moves {thing.motion}") for thing in order))


def plan_relations(rng: Random, things: Sequence[Thing], count: int) -> list[Clause]:
    """Up to ``count`` relations between different pairs of things; some leave out a size that nothing needs."""
    pairs = [(a, b) for i, a in enumerate(things) for b in things[i + 1 :]]
    clauses = []
    for pair in rng.sample(pairs, min(count, len(pairs))):
        first, second = rng.sample(pair, 2)
        mentions = [Mention(thing, _needs_size(thing, things) or rng.random() < 0.5) for thing in (first, second)]
        clauses.append(Clause(mentions[0], relation_of(first, second), mentions[1]))
    return clauses


def _needs_size(thing: Thing, things: Sequence[Thing]) -> bool:
    return sum(other.kind[1:] == thing.kind[1:] for other in things) > 1


def render_phrase(clause: Clause, language: str = "en") -> str:
    """A noun phrase without article: "small red circle", "red circle left of blue square"."""
    return _render_clause(clause, language, article=False)


def attributes(mention: Mention, language: str = "en") -> str:
    """The adjectives before the noun: "small red"."""
    return _render_noun_phrase(mention, language, article=False).rpartition(" ")[0]


def render_caption(caption: CaptionPlan, language: str = "en") -> str:
    """The caption in words, e.g. "here is a small red circle left of a large blue star and a small white ring"."""
    clauses = [_render_clause(clause, language) for clause in caption.clauses]
    words = WORDS[language]
    if language == "zh":
        return words.get(caption.opening, "") + COMMA_ZH.join(clauses)
    listed = ", ".join(clauses[:-1])
    text = f"{listed} {words['and']} {clauses[-1]}" if listed else clauses[-1]
    return f"{words[caption.opening]} {text}" if caption.opening else text


def _render_clause(clause: Clause, language: str, article: bool = True) -> str:
    subject = _render_noun_phrase(clause.subject, language, article)
    if clause.word is None:
        return subject
    word = WORDS[language][clause.word]
    if clause.other is None:
        return subject + word if language == "zh" else f"{subject} {word}"
    other = _render_noun_phrase(clause.other, language, article, dative=True)
    return f"{subject}{AT_ZH}{other}{OF_ZH}{word}" if language == "zh" else f"{subject} {word} {other}"


def _render_noun_phrase(mention: Mention, language: str, article: bool = True, dative: bool = False) -> str:
    size, color, shape = mention.thing.kind
    if language == "zh":
        words = CHINESE
        return (ARTICLE_ZH if article else "") + words[color] + OF_ZH + words[size] * mention.with_size + words[shape]
    described = [size, color] if mention.with_size else [color]
    if language == "de":
        gender = GENDERS.get(shape, "n")
        ending = (ENDINGS if article else BARE_ENDINGS)[gender][dative]
        nouns = [GERMAN[word] + ending for word in described] + [GERMAN[shape]]
        return " ".join([ARTICLES[gender][dative], *nouns] if article else nouns)
    start = [] if not article else ["an" if described[0][0] in "aeiou" else "a"]
    return " ".join([*start, *described, shape])
