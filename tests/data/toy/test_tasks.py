"""Questions and statements about toy scenes: are they true, is every answer as likely as the others?"""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from x2vlm.building import build
from x2vlm.data.toy.drawn_shapes import COLORS, SHAPES
from x2vlm.data.toy.scene import draw
from x2vlm.data.toy.tasks import ToyPairs, ToyQuestions
from x2vlm.data.toy.toy_tokenizer import toy_tokenizer, toy_vocabulary
from x2vlm.data.toy.world import ToyWorld
from x2vlm.registry import DATASETS, TOKENIZERS

MEAN = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def world(count, **options):
    return dict(num_scenes=count, image_size=32, **options)


def questions(count, kinds, **options):
    data = ToyQuestions(world(count, **options), kinds)
    return [(data.world.scene(n), data.record(n)) for n in range(count)]


def named(words, things):
    """The things that a noun phrase fits."""
    return [thing for thing in things if {*words.split()} <= {thing.size, thing.color, thing.shape, "thing"}]


def answered(question, scene):
    """The answer, worked out from the words of the question."""
    things = scene.things
    if actual := re.fullmatch(r"What (color|shape|size) is the (.*)\?", question):
        (thing,) = named(actual[2], things)
        return getattr(thing, actual[1])
    if question == "How many things are there?":
        return str(len(things))
    if actual := re.fullmatch(r"How many (\w+) things are there\?", question):
        return str(sum(thing.color == actual[1] for thing in things))
    if actual := re.fullmatch(r"Is there an? (.*)\?", question):
        return "yes" if named(actual[1], things) else "no"
    if actual := re.fullmatch(r"Where is the (.*)\?", question):
        ((x, y),) = [(3 * v / scene.side for v in thing.center) for thing in named(actual[1], things)]
        row, column = ["top", "", "bottom"][int(y)], ["left", "", "right"][int(x)]
        return f"{row} {column}".strip() or "middle"
    actual = re.fullmatch(r"Is the (.*) (left of|right of|above|below) the (.*)\?", question)
    ((x0, y0),), ((x1, y1),) = ([thing.center for thing in named(name, things)] for name in (actual[1], actual[3]))
    return "yes" if {"left of": x0 < x1, "right of": x0 > x1, "above": y0 < y1, "below": y0 > y1}[actual[2]] else "no"


@pytest.mark.parametrize("kind", ["color", "shape", "size", "count", "place", "exists", "relation"])
def test_answers_follow_from_the_scene(kind):
    requested = questions(150, [kind], objects=(2, 4))
    assert all(record["answers"] == [answered(record["question"], scene)] for scene, record in requested)
    types = Counter(record["extras"]["question_type"] for _, record in requested)
    assert types[kind] > 100  # in a few scenes nothing is clearly anywhere: then things are counted


@pytest.mark.parametrize("kind", ["color", "shape", "size", "exists", "relation", "place"])
def test_no_answer_of_a_kind_is_much_more_frequent_than_another(kind):
    requested = [record for _, record in questions(400, [kind], objects=(2, 4))]
    counts = Counter(r["answers"][0] for r in requested if r["extras"]["question_type"] == kind)
    expected = sum(counts.values()) / len(counts)
    assert max(counts.values()) < expected + 5 * expected**0.5
    assert set(counts) <= set(ToyQuestions(world(1), [kind]).answers)


def test_what_is_requested_can_occur_in_this_world():
    few = dict(colors=("red", "blue"), shapes=("star", "ring"))
    requested = questions(200, ("count", "exists"), **few)
    words = {word for _, record in requested for word in re.findall(r"\w+", record["question"])}
    assert not words & ({*COLORS, *SHAPES} - {"red", "blue", "star", "ring"})
    assert {record["answers"][0] for _, record in requested} <= set(
        ToyQuestions(world(1, **few), ("count", "exists")).answers
    )


def test_the_image_is_that_of_the_scene_and_records_do_not_change():
    data, again = ToyQuestions(world(5, split="val")), ToyQuestions(world(9, split="val"))
    for number in range(5):
        record, other = data.record(number), again.record(number)
        assert np.array_equal(record["image"], draw(data.world.scene(number)))
        assert (record["question"], record["answers"], record["id"]) == (
            other["question"],
            other["answers"],
            other["id"],
        )
        assert record["extras"]["question_id"] == number


def statement_holds(sentence, left, right):
    actual = re.fullmatch(r"(Both pictures show|Only one picture shows) an? (\w+) thing\.", sentence)
    if actual:
        shown = [any(thing.color == actual[2] for thing in scene) for scene in (left, right)]
        return sum(shown) == (2 if actual[1].startswith("Both") else 1)
    scenes = {"left": left, "right": right}
    if actual := re.fullmatch(r"The (\w+) picture shows more things than the (\w+) picture\.", sentence):
        return len(scenes[actual[1]]) > len(scenes[actual[2]])
    actual = re.fullmatch(r"The (\w+) picture shows an? (\w+) thing and the (\w+) picture does not\.", sentence)
    shown = {side: any(thing.color == actual[2] for thing in scene) for side, scene in scenes.items()}
    return shown[actual[1]] and not shown[actual[3]]


def test_sentences_about_two_images_are_true_or_false_as_they_say(monkeypatch):
    drawn = {}
    monkeypatch.setattr("x2vlm.data.toy.tasks.draw", lambda scene: scene.things)  # see the things themselves
    data = ToyPairs(world(400))
    for number in range(400):
        record = data.record(number)
        assert statement_holds(record["caption"], *record["images"]) == record["label"]
        drawn.setdefault(record["extras"]["kind"], []).append(record["label"])
    assert set(drawn) == {"both", "one", "side", "more"}


def test_no_sentence_gives_its_truth_away():
    data, truths = ToyPairs(world(800)), defaultdict(list)
    for number in range(800):
        record = data.record(number)
        truths[record["extras"]["kind"]].append(record["label"])
    for labels in truths.values():
        assert abs(np.mean(labels) - 0.5) < 3 * 0.5 / len(labels) ** 0.5


def test_the_tokenizer_knows_every_word_of_the_tasks_and_keeps_the_other_ids():
    tokenizer = build(TOKENIZERS, dict(type="ToyTokenizer", tasks=True))
    everything = dict(shapes=tuple(SHAPES), colors=tuple(COLORS), objects=(1, 8), image_size=64)
    data = ToyQuestions(dict(num_scenes=150, **everything))
    texts = [text for n in range(150) for text in (data.record(n)["question"], *data.record(n)["answers"])]
    texts += data.answers + [ToyPairs(world(200)).record(n)["caption"] for n in range(200)]
    unknown = {text for text in texts if tokenizer.unk_token in tokenizer.tokenize(re.sub(r"[?.]", " ", text))}
    assert not unknown
    assert toy_vocabulary(tasks=True)[: len(toy_vocabulary())] == toy_vocabulary()
    assert len(tokenizer) == len(toy_vocabulary(tasks=True)) > len(toy_tokenizer())


def test_questions_become_classes_and_pairs_become_two_images():
    steps = [dict(type="LoadImage"), dict(type="PickQuestion"), dict(type="AnswerLabel", classes=["no", "yes"])]
    cfg = dict(
        type="ToyQuestions", world=world(4), kinds=["exists"], pipeline=[*steps, dict(type="PackSample", **MEAN)]
    )
    sample = build(DATASETS, cfg)[0]
    assert sample.labels[0] in (0, 1) and sample.texts[0].startswith("is there a")
    steps = [dict(type="LoadImage"), dict(type="PickCaption"), dict(type="PickLabel")]
    cfg = dict(type="ToyPairs", world=world(4), pipeline=[*steps, dict(type="PackSample", **MEAN)])
    sample = build(DATASETS, cfg)[0]
    assert sample.pixels.shape == (2, 3, 32, 32) and sample.num_contexts == 2 and sample.labels[0] in (0, 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ToyQuestions(kinds=["colour"]), "kinds has no 'colour'. Did you mean 'color'"),
        (lambda: ToyQuestions(dict(splitt="val")), "world: ToyWorld has no argument 'splitt'. Did you mean 'split'"),
        (lambda: ToyQuestions(world(1, kind="video")), "about still images: kind='image'"),
        (lambda: ToyPairs(kinds=[]), "kinds is empty"),
        (lambda: ToyPairs(world(1, objects=(2, 2)), kinds=["more"]), "needs scenes of different numbers of things"),
        (lambda: ToyWorld(captions="sorted"), "captions has no 'sorted'"),
        (lambda: ToyWorld("video", captions="ordered"), "is for still scenes"),
    ],
)
def test_a_wrong_option_is_reported(make, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        make()


def test_ordered_captions_name_every_thing_from_left_to_right():
    ordered = ToyWorld(num_scenes=40, captions="ordered")
    for number in range(40):
        things = sorted(ordered.scene(number).things, key=lambda thing: thing.center[0])
        names = [" ".join(thing.kind) for thing in things]
        reported = re.split(r", | and ", ordered.record(number)["caption"])
        assert [name.removeprefix("an ").removeprefix("a ") for name in reported] == names


def test_ordered_captions_come_in_every_language():
    caption = ToyWorld(num_scenes=1, objects=(1, 1), captions="ordered", languages=("en", "de", "zh")).record(0)[
        "caption"
    ]
    assert set(caption) == {"en", "de", "zh"} and " " not in caption["zh"]
