"""The toy world as a data set: the same everywhere, its splits apart, its records as the transforms expect them."""

import hashlib
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from x2vlm.data.record import RecordError
from x2vlm.data.toy.scene import draw
from x2vlm.data.toy.toy_tokenizer import toy_vocabulary
from x2vlm.data.toy.world import KINDS, ToyWorld
from x2vlm.registry import DATASETS, TOKENIZERS

HARD = dict(tilt=15, clutter=5, shade=40.0, noise=6.0, objects=(2, 3))


def fingerprint(kind):
    """A hash of everything in a few records."""
    world, digest = ToyWorld(kind, num_scenes=5, **HARD), hashlib.sha256()
    for index in range(len(world)):
        record = world.record(index)
        for image in [record.pop("image", np.zeros(0)), *record.pop("video", [])]:
            digest.update(image.tobytes())
        digest.update(repr(record).encode())
    return digest.hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_two_instances_give_the_same_records(kind):
    assert fingerprint(kind) == fingerprint(kind)


def test_records_depend_neither_on_the_order_of_reading_nor_on_global_randomness(seed):
    world = ToyWorld(num_scenes=9, **HARD)
    first = world.record(7)["image"]
    world.record(3)
    state = random.getstate(), np.random.get_state()[1].tolist()
    random.seed(2)
    np.random.seed(2)
    assert np.array_equal(world.record(7)["image"], first)
    random.seed(seed)
    np.random.seed(seed)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state


def test_another_process_gives_the_same_records(tmp_path):
    script = tmp_path / "elsewhere.py"
    code = f"import sys\nsys.path.insert(0, {os.path.dirname(__file__)!r})\nimport test_world\n"
    script.write_text(code + "print(test_world.fingerprint('region'), test_world.fingerprint('video'))")
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [fingerprint("region"), fingerprint("video")]


def test_splits_and_seeds_share_no_scene():
    worlds = [ToyWorld(num_scenes=100, split=split, seed=seed) for split in ("train", "val", "test") for seed in (0, 1)]
    records = [world.record(index) for world in worlds for index in range(100)]
    assert len({record["image"].tobytes() for record in records}) == len({record["id"] for record in records}) == 600


def test_image_and_region_records_of_one_number_show_the_same_scene():
    image, region = (ToyWorld(kind, num_scenes=3).record(2) for kind in ("image", "region"))
    assert np.array_equal(image["image"], region["image"])
    assert image["id"] == region["id"]


def test_a_clip_has_its_frames_and_starts_and_ends_with_the_scene():
    world = ToyWorld("video", num_scenes=1, num_frames=5, image_size=32, objects=(2, 2))
    frames, scene = world.record(0)["video"], world.scene(0)
    assert [frame.shape for frame in frames] == [(32, 32, 3)] * 5
    assert np.array_equal(frames[0], draw(scene, 0.0))
    assert np.array_equal(frames[-1], draw(scene, 1.0))


def test_objects_come_as_a_noun_and_its_attributes():
    elem = ToyWorld("region", num_scenes=1, objects=(1, 1), shapes=("star",), colors=("red",)).record(0)["elems"][0]
    assert elem["caption"] == "star"
    assert elem["attributes"] in ("small red", "large red")
    assert elem["kind"] == "object"


def test_scenes_of_n_things_have_one_relation_less():
    world = ToyWorld("region", num_scenes=20, objects=(1, 4))
    for index in range(20):
        kinds = [elem["kind"] for elem in world.record(index)["elems"]]
        assert kinds.count("region") == kinds.count("object") - 1


def test_region_records_carry_the_caption_only_when_requested():
    assert "caption" not in ToyWorld("region", num_scenes=1).record(0)
    with_caption = ToyWorld("region", num_scenes=1, region_captions=True).record(0)
    assert with_caption["caption"] == ToyWorld("image", num_scenes=1).record(0)["caption"]


def test_region_phrases_come_in_every_language_requested():
    elem = ToyWorld("region", num_scenes=1, languages=("en", "zh"), shapes=("star",), colors=("red",), objects=(1, 1))
    captions = elem.record(0)["elems"][0]["caption"]
    assert list(captions) == ["en", "zh"]
    assert captions["en"] in ("small red star", "large red star")


def test_texts_are_plain_english_unless_languages_are_given():
    assert isinstance(ToyWorld("text", num_scenes=1).record(0)["text"], str)
    assert list(ToyWorld("text", num_scenes=1, languages=("zh",)).record(0)["text"]) == ["zh"]
    assert list(ToyWorld("parallel", num_scenes=1).record(0)["parallel"]) == ["en", "de"]


@pytest.mark.parametrize(("kind", "most"), [("image", 4), ("text", 4), ("video", 3)])
def test_distinct_captions_are_distinct_and_fit_only_one_record(kind, most):
    world = ToyWorld(kind, 256, split="test", objects=(2, most), distinct_captions=True, image_size=16, num_frames=1)
    records = [world.record(index) for index in range(len(world))]
    scenes = [world.scene(int(record["id"].rpartition("-")[2])) for record in records]
    assert len({record["text" if kind == "text" else "caption"] for record in records}) == 256
    assert len({frozenset((*thing.kind, thing.motion) for thing in scene.things) for scene in scenes}) == 256


def test_scenes_with_the_same_things_are_left_out():
    few = dict(kind="text", objects=(1, 2), shapes=("star",), colors=("red",))  # small, large, both: three in all
    world = ToyWorld(num_scenes=3, distinct_captions=True, **few)
    assert len({("small" in text, "large" in text) for text in (world.record(i)["text"] for i in range(3))}) == 3
    with pytest.raises(ValueError, match="only 3 distinct scenes were found for num_scenes=4"):
        ToyWorld(num_scenes=4, distinct_captions=True, **few)


def test_the_world_and_its_tokenizer_can_be_named_in_a_config():
    assert len(DATASETS.build(dict(type="ToyWorld", num_scenes=7))) == 7
    assert len(TOKENIZERS.build(dict(type="ToyTokenizer"))) == len(toy_vocabulary())


def test_records_go_through_the_pipeline():
    world = ToyWorld(num_scenes=2, pipeline=[lambda record: record["caption"].upper()])
    assert world[1] == world.record(1)["caption"].upper()
    with pytest.raises(IndexError):
        world[2]


def test_a_failing_transform_is_reported_with_the_place_of_the_record():
    def fail(record):
        raise RecordError("somewhere", "no reason")

    with pytest.raises(RecordError, match=r"toy-image-train:1.*no reason"):
        ToyWorld(num_scenes=2, pipeline=[fail])[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "regions"}, "kind has no 'regions'. Did you mean 'region'"),
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"languages": ("en", "fr")}, "languages has no 'fr'.* Accepted: en, de, zh"),
        ({"shapes": ("circel",)}, "Did you mean 'circle'"),
        ({"colors": ("grean",)}, "Did you mean 'green'"),
        ({"kind": "parallel", "languages": ("en",)}, "needs two languages"),
        ({"objects": (3, 2)}, "1 <= fewest <= most"),
        ({"objects": (1, 3), "shapes": ("star",), "colors": ("red",)}, "most <= 2"),
        ({"num_scenes": 0}, "num_scenes must be 1 to .*, got 0"),
        ({"num_frames": 0}, "num_frames must be 1 to .*, got 0"),
        ({"image_size": 8}, "image_size must be 16 to .*, got 8"),
        ({"max_overlap": 1.5}, "max_overlap must be 0.0 to 1.0, got 1.5"),
        ({"scale": 0.0}, "scale must be 0.25 to 2.0, got 0.0"),
        ({"noise": -1.0}, "noise must be 0 to 255, got -1.0"),
    ],
)
def test_a_wrong_option_is_reported_with_what_would_be_right(options, message):
    with pytest.raises(ValueError, match=message):
        ToyWorld(**options)


def test_too_many_things_are_reported_at_once(monkeypatch):
    monkeypatch.setattr("x2vlm.data.toy.scene._SCENE_TRIES", 2)
    with pytest.raises(ValueError, match="No room for 40 things"):
        ToyWorld("video", objects=(1, 40))
