"""Accuracy of the VQA challenge: how many of ten people gave this answer, once spelling is set aside.

As the challenge's evaluation defines it (https://visualqa.org/evaluation.html): an answer that three or more people
gave is right, and one that fewer gave is so in part. Every person is left out once, and the results are averaged.
"""

import re
from collections import Counter
from collections.abc import Sequence

_SIGNS = ';/[]"{}()=+\\_->,<@`?!'
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0", "zero": "0"} | {word: str(number) for number, word in enumerate(_COUNTS, start=1)}
_ARTICLES = frozenset(("a", "an", "the"))
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")

# Contractions that are restored where one apostrophe is missing. Not all: "were" and "well" are words of their own.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter == "'"]


_RESTORED = {short: word for word in _CONTRACTIONS.split() for short in _without_one_apostrophe(word)}
_RESTORED["somebody'd"] = "somebodyd"  # an oddity of the challenge's own table


def normalized_answer(text: str) -> str:
    """An answer as the challenge compares it.

    Signs are dropped where they touch a space (or the text has a number such as 1,000) and become spaces elsewhere;
    periods that no digit follows are dropped; lower case; numbers up to ten as digits; articles are dropped;
    contractions get their apostrophe.
    """
    drop_all = _COMMA_IN_NUMBER.search(text) is not None
    cleaned = text
    for sign in _SIGNS:
        drop = drop_all or f"{sign} " in text or f" {sign}" in text
        cleaned = cleaned.replace(sign, "" if drop else " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", cleaned).lower().split()]
    return " ".join(_RESTORED.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """0..1, how right an answer is, given those of several people (ten, in the challenge).

    With every person left out in turn: ``min(others who gave this answer / 3, 1)``, averaged. Where all people agree to
    the letter, their answer is compared as it is written, else all are normalised (:func:`normalized_answer`).

    Raises:
        ValueError: If there are fewer than two people: with one left out, nobody remains.
    """
    if len(people) < 2:
        raise ValueError(f"VQA accuracy compares with several people's answers, got {len(people)}.")
    answer, people = _on_one_line(answer), [_on_one_line(one) for one in people]
    if len(set(people)) > 1:
        answer, people = normalized_answer(answer), [normalized_answer(one) for one in people]
    same = [one == answer for one in people]
    return sum(min(1.0, (sum(same) - left_out) / 3) for left_out in same) / len(same)


def exact_match(answer: str, right: str) -> float:
    """1 where two answers are the same once normalised, else 0."""
    return float(normalized_answer(_on_one_line(answer)) == normalized_answer(_on_one_line(right)))


def most_frequent(people: Sequence[Sequence[str]]) -> str:
    """The answer that was given most often to any of the questions; of equals the first in the alphabet."""
    counts = Counter(_on_one_line(one) for answers in people for one in answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
