"""The grammar's truth values, against a second evaluator that reads sentences and counts in the drawn image."""

import json
import re
from collections import defaultdict
from random import Random

import cv2
import numpy as np
import pytest

from plugins.nlvr_shapes import scatter_statements, tower_statements
from plugins.nlvr_shapes.dataset import NlvrShapes, make_pair, make_statements, name_items
from plugins.nlvr_shapes.scenes import COLORS, STEP, draw_scene, make_scene, read_scene

NUMBERS = {"no": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
MAKERS = [(maker, False) for maker in scatter_statements.STATEMENTS]
MAKERS += [(maker, True) for maker in tower_statements.STATEMENTS]


def found_in_image(image):
    """The shapes of each box by connected regions of colour: lists of (colour, shape, x, y, width, height)."""
    boxes = [[], [], []]
    for color, rgb in COLORS.items():
        mask = (image == np.array(rgb, dtype=np.uint8)).all(axis=2).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for x, y, width, height, area in stats[1:count]:
            # Edges are blended with the ground, so round and pointed shapes lose a part of their rim.
            share = area / (width * height)
            shape = "square" if share > 0.97 else "triangle" if share < 0.68 else "circle"
            boxes[x // STEP].append((color, shape, x % STEP, y, width, height))
    return boxes


def counts(words, number):
    """Whether a quantity in words holds of a number: read by rules, not by the grammar."""
    words = words.replace("atleast", "at least")
    *kind, last = words.split()
    if last in ("a", "an"):
        return number >= 1
    n, kind = int(last) if last.isdigit() else NUMBERS[last], " ".join(kind)
    return {
        "": number == n,
        "exactly": number == n,
        "only": number == n,
        "at least": number >= n,
        "at most": number <= n,
        "more than": number > n,
        "less than": number < n,
    }[kind]


MANY = (
    r"(?:(?:exactly|only|at least|atleast|at most|more than|less than) )?"
    r"(?:an?|no|one|two|three|four|five|six|seven|eight|\d)"
)
COUNTED = re.compile(
    rf"there (?:is|are) (?P<many>{MANY}) (?:(?P<color>yellow|black|blue) )?"
    r"(?P<noun>square|circle|triangle|block|item|object)s?(?P<not> not touching (?:the edge|any edge|the wall))?"
)
KIND = r"an? (yellow|black|blue) (square|circle|triangle)"
BOTH = re.compile(f"{KIND} and {KIND}")


def count_by_image(match, image):
    total = 0
    for box in found_in_image(image):
        for color, shape, x, y, width, height in box:
            fits = match["color"] in (None, color) and match["noun"] in (shape, "item", "object", "block")
            inside = min(x, y, 100 - x - width, 100 - y - height) > 2  # blended rims hide up to one pixel
            total += fits and (match["not"] is None or inside)
    return total


@pytest.mark.parametrize("towers", [True, False])
def test_counted_statements_are_true_as_often_as_the_image_says(towers):
    rng, checked = Random(0), 0
    makers = (tower_statements.blocks_in_scene,) if towers else (scatter_statements.items_in_scene,)
    for _ in range(150):
        scene = make_scene(rng, towers)
        text, meaning = rng.choice(makers)(rng)
        match = COUNTED.fullmatch(text)
        if match is None:  # it names a size
            continue
        checked += 1
        assert meaning(scene) == counts(match["many"], count_by_image(match, draw_scene(scene))), text
    assert checked > 100


@pytest.mark.parametrize(
    ("sentence", "boxes", "truth"),
    [
        ("there is a tower with a blue block at the top", ["kb", "y", "by"], True),
        ("there is a tower with a blue block at the base", ["kb", "y", "yb"], False),
        ("there are exactly two yellow blocks as the base of a tower", ["yb", "y", "by"], True),
        ("there is a black block over a yellow block", ["yk", "b", "b"], True),
        ("there is a black block over a yellow block", ["ky", "ybk", "b"], False),
        ("the tower with four blocks has a yellow block at the top", ["kkky", "y", "b"], True),
        ("the tower with four blocks has a yellow block at the top", ["kky", "y", "b"], False),
        ("there are two towers with the same height", ["k", "y", "bb"], True),
        ("there are two towers with the same height", ["k", "yy", "bbb"], False),
        ("there is a yellow tower", ["yk", "yyy", "b"], True),
        ("all 3 towers have a black block", ["yk", "k", "bk"], True),
        ("there is a tower with only blue and black blocks", ["bb", "k", "ybk"], False),
        ("there is at least 1 black block in each tower", ["k", "kb", "yy"], False),
        ("there is a tower with 2 blue blocks stacked together", ["byb", "ybb", "y"], True),
    ],
)
def test_a_sentence_about_towers_means_what_people_mean(sentence, boxes, truth):
    """Towers in letters from the base to the top: y(ellow), k = black, b(lue)."""
    codes = {"y": "Yellow", "k": "Black", "b": "#0099ff"}
    block = {"x_loc": 40, "size": 20, "type": "square"}
    scene = read_scene(
        [[block | {"y_loc": 80 - 21 * n, "color": codes[c]} for n, c in enumerate(tower)] for tower in boxes]
    )
    assert meaning_of(sentence, tower_statements.STATEMENTS)(scene) == truth


def test_a_box_with_two_kinds_holds_both_in_the_image():
    rng, truths = Random(5), []
    while len(truths) < 40:
        text, has = scatter_statements._several_counted(rng)
        match = BOTH.fullmatch(text)
        if match is None:
            continue
        scene = make_scene(rng, towers=False)
        for box, found in zip(scene.boxes, found_in_image(draw_scene(scene)), strict=True):
            kinds = {(color, shape) for color, shape, *_ in found}
            truths.append(match.groups()[:2] in kinds and match.groups()[2:] in kinds)
            assert has(box) == truths[-1], text
    assert any(truths) and not all(truths)


def item(x, y, size, shape, color):
    return {"x_loc": x, "y_loc": y, "size": size, "type": shape, "color": color}


ROOM = [
    [item(0, 40, 20, "circle", "Yellow"), item(50, 50, 10, "square", "Black"), item(80, 80, 20, "square", "Yellow")],
    [item(30, 30, 30, "triangle", "#0099ff")],
    [item(10, 70, 30, "square", "Black"), item(40, 10, 10, "square", "Black")],
]


@pytest.mark.parametrize(
    ("sentence", "truth"),
    [
        ("there are exactly two yellow objects touching the wall", True),
        ("there is a black square touching the base", True),
        ("there is a black square touching the corner", False),
        ("there is a yellow square closely touching a corner", True),
        ("there is a yellow circle not touching the edge", False),
        ("there is a box with only black items", True),
        ("there is a box with 3 items", True),
        ("there is a box with 4 items", False),
        ("each box has a square", False),
        ("all yellow items are in the same box", True),
        ("none of the triangles are touching any edge", True),
        ("there is a box with items of 2 different colors", True),
        ("there is a box with items of all 3 different colors", False),
    ],
)
def test_a_sentence_about_boxes_means_what_people_mean(sentence, truth):
    assert meaning_of(sentence, scatter_statements.STATEMENTS)(read_scene(ROOM)) == truth


def meaning_of(sentence, makers):
    """The meaning that the grammar gives to a sentence, found by making sentences until it comes up."""
    return TABLES[id(makers)](sentence)


class Table:
    def __init__(self, makers):
        self.makers, self.made = makers, None

    def __call__(self, sentence):
        if self.made is None:
            rng, self.made = Random(0), {}
            for maker, often in self.makers.items():
                for _ in range(2500 * often):
                    text, meaning = maker(rng)
                    self.made.setdefault(text, meaning)
        assert sentence in self.made, f"the grammar does not make {sentence!r}"
        return self.made[sentence]


TABLES = {id(makers): Table(makers) for makers in (tower_statements.STATEMENTS, scatter_statements.STATEMENTS)}


@pytest.mark.parametrize(("maker", "towers"), MAKERS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_every_kind_of_statement_is_true_of_some_scenes_and_false_of_others(maker, towers):
    rng = Random(1)
    truths = {meaning(make_scene(rng, towers)) for _, meaning in (maker(rng) for _ in range(120))}
    assert truths == {True, False}


@pytest.mark.parametrize("towers", [True, False])
def test_the_order_of_the_boxes_changes_no_truth(towers):
    rng = Random(2)
    makers = tower_statements.STATEMENTS if towers else scatter_statements.STATEMENTS
    for maker in makers:
        for _ in range(10):
            scene, (_, meaning) = make_scene(rng, towers), maker(rng)
            turned = type(scene)(scene.boxes[::-1], towers)
            assert meaning(scene) == meaning(turned)


def test_every_sentence_is_true_of_one_scene_of_a_pair_and_false_of_the_other():
    dataset = NlvrShapes(num_statements=6)
    for index in range(0, 40, 2):
        first, second = (dict(dataset.record(index + i)["statements"]) for i in range(2))
        assert first and first.keys() == second.keys()
        assert all(first[text] != second[text] for text in first)


def test_the_truth_of_a_statement_is_that_of_its_own_scene():
    dataset, checked = NlvrShapes(num_statements=12, towers=1.0), 0
    for index in range(20):
        record = dataset.record(index)
        for text, truth in record["statements"]:
            match = COUNTED.fullmatch(text)
            if match:
                checked += 1
                assert truth == counts(match["many"], count_by_image(match, record["image"])), text
    assert checked > 5


def test_some_pairs_differ_in_the_places_of_their_colours_alone():
    pairs = [make_pair(Random(seed), towers=True) for seed in range(40)]
    alike = [sorted(i.color for i in a.items) == sorted(i.color for i in b.items) for a, b in pairs]
    assert 3 < sum(alike) < 30
    assert all(
        [i.y for i in a.items] == [i.y for i in b.items] for (a, b), same in zip(pairs, alike, strict=True) if same
    )


def test_scenes_that_do_not_differ_give_no_statement():
    scene = make_scene(Random(0), towers=True)
    assert make_statements(Random(1), (scene, scene), 3) == []


@pytest.mark.parametrize("towers", [True, False])
def test_a_phrase_names_one_shape_of_its_scene(towers):
    for seed in range(20):
        rng = Random(seed)
        phrases = [phrase for phrase, _, _ in name_items(rng, make_scene(rng, towers))]
        assert phrases and len(set(phrases)) == len(phrases)


def test_a_phrase_has_the_box_of_what_it_names():
    record = NlvrShapes(kind="phrases", towers=0.0).record(1)
    for elem in record["elems"]:
        x, y, width, height = map(int, elem["bb"])
        color = next((color for color in COLORS if color in elem["caption"].split()), None)
        middle = tuple(record["image"][y + height * 6 // 10, x + width // 2])
        assert middle in COLORS.values() and (color is None or middle == COLORS[color])


@pytest.mark.slow
def test_people_agree_with_the_grammar_where_they_use_its_words(corpus):
    agreed = [0, 0]
    tables = [defaultdict(lambda: None), defaultdict(lambda: None)]
    for towers, makers in ((0, scatter_statements.STATEMENTS), (1, tower_statements.STATEMENTS)):
        rng = Random(0)
        for maker, often in makers.items():
            for _ in range(1500 * often):
                text, meaning = maker(rng)
                tables[towers].setdefault(text, meaning)
    for line in (corpus / "dev.jsonl").read_text().splitlines():
        example = json.loads(line)
        scene = read_scene(example["structured_rep"])
        meaning = tables[scene.towers].get(example["sentence"].lower().strip().rstrip("."))
        if meaning is not None:
            agreed[meaning(scene) == (example["label"] == "true")] += 1
    assert sum(agreed) > 200 and agreed[1] / sum(agreed) > 0.97
