"""Accuracy of the VQA challenge: agreement of an answer with those of ten annotators, after normalisation.

As the challenge defines it (https://visualqa.org/evaluation.html): an answer of three or more annotators is correct,
one of fewer is partly correct. Each annotator is left out once, and the results are averaged.
"""

import re
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
    text = on_one_line(text)
    drop_all = _COMMA_IN_NUMBER.search(text) is not None
    cleaned = text
    for sign in _SIGNS:
        drop = drop_all or f"{sign} " in text or f" {sign}" in text
        cleaned = cleaned.replace(sign, "" if drop else " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", cleaned).lower().split()]
    return " ".join(_RESTORED.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, annotations: Sequence[str]) -> float:
    """Accuracy of an answer, 0..1, given those of several annotators (ten, in the challenge).

    For each annotator left out: ``min(others who gave this answer / 3, 1)``, averaged. Where all annotators agree to
    the letter, their answer is compared as it is written, else all are normalised (:func:`normalized_answer`).

    Raises:
        ValueError: If there are fewer than two annotations: with one left out, none remains.
    """
    if len(annotations) < 2:
        raise ValueError(f"VQA accuracy compares with the answers of several annotators, got {len(annotations)}.")
    answer, annotations = on_one_line(answer), [on_one_line(annotation) for annotation in annotations]
    if len(set(annotations)) > 1:
        answer, annotations = normalized_answer(answer), [normalized_answer(other) for other in annotations]
    equal = [annotation == answer for annotation in annotations]
    return sum(min(1.0, (sum(equal) - left_out) / 3) for left_out in equal) / len(equal)


def on_one_line(text: str) -> str:
    """The text with line breaks and tabs as spaces, stripped."""
    return text.replace("\n", " ").replace("\t", " ").strip()
