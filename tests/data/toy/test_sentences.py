"""What the toy world says: is it true of the scene? Captions are read back here, apart from the code that writes them.

That boxes, and so middles of things, are those of the pixels is tested with the scenes.
"""

import re
from dataclasses import replace

import pytest

from x2vlm.data.toy.drawn_shapes import COLORS, SHAPES, SIZES, Thing
from x2vlm.data.toy.sentences import CaptionPlan, Clause, Mention, render_caption, render_phrase
from x2vlm.data.toy.world import ToyWorld

EVERYTHING = dict(shapes=tuple(SHAPES), colors=tuple(COLORS))
NOUN = rf"(?:(?:an?) )?(?:({'|'.join(SIZES)}) )?({'|'.join(COLORS)}) ({'|'.join(SHAPES)})"
PLACE = r"(at the (?:top|bottom)(?: left| right)?|on the left|on the right|in the middle)"
RELATIONS = {
    "left of": lambda a, b: a[0] < b[0],
    "right of": lambda a, b: a[0] > b[0],
    "above": lambda a, b: a[1] < b[1],
    "below": lambda a, b: a[1] > b[1],
}


def records_and_scenes(kind, count, **options):
    world = ToyWorld(kind, num_scenes=count, **options)
    return [(world.record(index), world.scene(index)) for index in range(count)]


def named(scene, words):
    """The things of a scene that fit (size or "", colour, shape)."""
    return [thing for thing in scene.things if all(w in ("", k) for w, k in zip(words, thing.kind, strict=True))]


def test_captions_name_every_thing_once_and_truly():
    for record, scene in records_and_scenes("text", 400, **EVERYTHING):
        actual = [named(scene, words) for words in re.findall(NOUN, record["text"])]
        assert [len(things) for things in actual] == [1] * len(scene.things), record["text"]
        assert {things[0].kind for things in actual} == {thing.kind for thing in scene.things}


def test_relations_in_captions_and_phrases_hold():
    checked = set()
    for record, scene in records_and_scenes("region", 300, region_captions=True, objects=(2, 4)):
        texts = ", ".join([record["caption"], *(elem["caption"] for elem in record["elems"])])
        for *first, word, size, color, shape in re.findall(rf"{NOUN} ({'|'.join(RELATIONS)}) {NOUN}", texts):
            a, b = (named(scene, words)[0].center for words in (first, (size, color, shape)))
            assert RELATIONS[word](a, b), (record["where"], word)
            checked.add(word)
    assert checked == set(RELATIONS)


def test_places_in_captions_are_where_the_things_are():
    checked = set()
    for record, scene in records_and_scenes("text", 300):
        for *words, position in re.findall(rf"{NOUN} {PLACE}", record["text"]):
            x, y = named(scene, words)[0].center
            third = scene.side / 3
            assert ("left" in position, "right" in position) == (x < third, x >= 2 * third), record["text"]
            assert ("top" in position, "bottom" in position) == (y < third, y >= 2 * third), record["text"]
            checked.add(position)
    assert len(checked) == 9


def test_motion_words_are_true():
    checked = set()
    for record, scene in records_and_scenes("video", 60, objects=(1, 3), num_frames=1):
        phrases = re.findall(rf"{NOUN} (moves left|moves right|moves up|moves down|stands still)", record["caption"])
        assert len(phrases) == len(scene.things)
        for *words, motion in phrases:
            thing = named(scene, words)[0]
            dx, dy = (end - start for start, end in zip(thing.center, thing.at(1.0).center, strict=True))
            along = {"moves left": -dx, "moves right": dx, "moves up": -dy, "moves down": dy}
            assert along[motion] > 0.2 * scene.side if motion in along else dx == dy == 0
            assert dx == 0 or dy == 0
            checked.add(motion)
    assert len(checked) == 5


def test_captions_of_up_to_six_things_stay_within_thirty_words():
    captions = [record["text"] for record, _ in records_and_scenes("text", 500, objects=(1, 6), **EVERYTHING)]
    assert max(len(caption.split()) for caption in captions) <= 30


def test_the_article_suits_the_next_word():
    star = Thing("star", "orange", "small", 5.0)
    assert render_caption(CaptionPlan((Clause(Mention(star)),))) == "a small orange star"
    assert render_caption(CaptionPlan((Clause(Mention(star, with_size=False)),))) == "an orange star"
    assert render_caption(CaptionPlan((Clause(Mention(replace(star, color="red"), with_size=False)),))) == "a red star"


def test_the_opening_and_the_form_of_captions_vary():
    captions = [record["text"] for record, _ in records_and_scenes("text", 100, objects=(3, 3))]
    assert {"here is", "there is"} < {" ".join(caption.split()[:2]) for caption in captions}
    assert len({tuple(re.findall(r" (at|on|in|left|right|above|below|and) ", caption)) for caption in captions}) > 20


def test_every_phrase_means_exactly_one_box_of_its_image():
    for record, scene in records_and_scenes("region", 300, objects=(1, 5), colors=("red", "blue", "green")):
        for elem in record["elems"]:
            text = f"{elem.get('attributes', '')} {elem['caption']}".strip()
            things = [named(scene, words) for words in re.findall(NOUN, text)]
            assert [len(actual) for actual in things] == [1] * (1 if elem["kind"] == "object" else 2), text
            x, y, width, height = elem["bb"]
            boxes = [actual[0].box_xyxy for actual in things]
            corners = (*map(min, zip(*boxes, strict=True)), *map(max, zip(*boxes, strict=True)))
            expected = (corners[0], corners[1], corners[-2], corners[-1])
            assert (x, y, x + width, y + height) == pytest.approx(expected)


def test_some_relation_phrases_leave_out_a_size_that_nothing_needs():
    phrases = [e["caption"] for r, _ in records_and_scenes("region", 60, objects=(2, 3)) for e in r["elems"]]
    sizes = {len(re.findall("small|large", text)) for text in phrases if " of " in text}
    assert sizes == {0, 1, 2}


GERMAN = [
    ("circle", "ein kleiner roter Kreis", "einem kleinen roten Kreis", "kleiner roter Kreis", "kleinem rotem Kreis"),
    ("star", "ein kleiner roter Stern", "einem kleinen roten Stern", "kleiner roter Stern", "kleinem rotem Stern"),
    ("cross", "ein kleines rotes Kreuz", "einem kleinen roten Kreuz", "kleines rotes Kreuz", "kleinem rotem Kreuz"),
    ("diamond", "eine kleine rote Raute", "einer kleinen roten Raute", "kleine rote Raute", "kleiner roter Raute"),
]


@pytest.mark.parametrize(("shape", "subject", "other", "bare_subject", "bare_other"), GERMAN)
def test_german_articles_and_endings_agree_with_the_noun(shape, subject, other, bare_subject, bare_other):
    mention = Mention(Thing(shape, "red", "small", 5.0))
    clause = Clause(mention, "left of", mention)
    assert render_caption(CaptionPlan((clause,)), "de") == f"{subject} links von {other}"
    assert render_phrase(clause, "de") == f"{bare_subject} links von {bare_other}"


def test_sentences_in_three_languages():
    circle, square = Mention(Thing("circle", "red", "small", 5.0)), Mention(Thing("square", "blue", "large", 9.0))
    caption = CaptionPlan((Clause(circle, "above", square), Clause(circle), Clause(square, "top left")), opening="here")
    assert render_caption(caption) == (
        "here is a small red circle above a large blue square, a small red circle "
        "and a large blue square at the top left"
    )
    assert render_caption(caption, "de") == (
        "hier ist ein kleiner roter Kreis über einem großen blauen Quadrat, ein kleiner roter Kreis "
        "und ein großes blaues Quadrat oben links"
    )
    assert render_caption(caption, "zh").split("\N{FULLWIDTH COMMA}") == [
        "这里有一个红色的小圆形在一个蓝色的大正方形的上方",
        "一个红色的小圆形",
        "一个蓝色的大正方形在左上角",
    ]


SIGNS = [  # the same meaning in three languages, as a reader would look for it
    ("left", "links", "左"),
    ("right", "rechts", "右"),
    ("red", "rote", "红"),
    ("black", "schwarz", "黑"),
    ("white", "weiß", "白"),
    ("large", "groß", "大"),
    ("small", "klein", "小"),
    ("star", "Stern", "星"),
    ("circle", "Kreis", "圆形"),
    ("ring", "Ring", "圆环"),
]


@pytest.mark.parametrize("kind", ["parallel", "video"])
def test_languages_have_the_same_content(kind):
    options = dict(languages=("en", "de", "zh"), objects=(1, 3), num_frames=1, image_size=16)
    for record, _ in records_and_scenes(kind, 100, **options):
        english, german, chinese = record["caption" if kind == "video" else "parallel"].values()
        for signs in SIGNS:
            counts = {text.count(sign) for text, sign in zip((english, german, chinese), signs, strict=True)}
            assert len(counts) == 1, (signs, english, german, chinese)
