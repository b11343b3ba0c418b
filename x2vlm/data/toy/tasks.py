"""Data sets of toy tasks: questions with answers, and true or false sentences about two images."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from x2vlm.building import build
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.options import check_names
from x2vlm.data.record import Record
from x2vlm.data.toy.questions import QUESTION_MAKERS, possible_answers
from x2vlm.data.toy.scene import draw, make_scene
from x2vlm.data.toy.scene_pairs import STATEMENTS, make_statement
from x2vlm.data.toy.world import ToyWorld
from x2vlm.registry import DATASETS

_TRIES = 200  # pairs of scenes, until a sentence of the wanted kind and truth fits one


@DATASETS.register_module()
class ToyQuestions(Adapter):
    """A question about each scene of a toy world, in English, with its answer.

    Kinds: ``color``, ``shape``, ``size`` (of a thing that is named without it), ``count``, ``place`` (one of nine parts
    of the image), ``exists``, ``relation``. Answers of one kind are about equally frequent, "yes" and "no" exactly
    so in the long run. ``extras`` has ``question_id`` and ``question_type``. Texts need
    ``dict(type="ToyTokenizer", tasks=True)``.

    Args:
        world: Arguments of :class:`~x2vlm.data.toy.world.ToyWorld`: ``num_scenes``, ``split``, ``objects`` ...
        kinds: Which questions.
        pipeline: Transforms.

    Raises:
        ValueError: If an option has no meaning.
    """

    def __init__(
        self,
        world: Mapping[str, Any] | ToyWorld = {},  # noqa: B006  (never changed)
        kinds: Sequence[str] = tuple(QUESTION_MAKERS),
        pipeline: Sequence[dict | Callable] = (),
    ) -> None:
        super().__init__(pipeline)
        self.world, self.kinds = _image_world(world), _checked_kinds(kinds, QUESTION_MAKERS, "ToyQuestions")

    def __len__(self) -> int:
        return len(self.world)

    @property
    def answers(self) -> list[str]:
        """Every answer there can be, in a fixed order."""
        return possible_answers(self.kinds, self.world.rules)

    def record(self, index: int) -> Record:
        """The record at ``index``, the same at every call."""
        scene = self.world.scene(self.world.numbers[index])
        base = self.world.record(index)
        rng = Random(f"question/{base['id']}/{','.join(self.kinds)}")
        question_answer = None
        for kind in rng.sample(self.kinds, len(self.kinds)):
            question_answer = QUESTION_MAKERS[kind](rng, scene, self.world.rules)
            if question_answer is not None:
                break
        if question_answer is None:  # the scene allows no question of these kinds; any scene allows this one
            kind, question_answer = "count", QUESTION_MAKERS["count"](rng, scene, self.world.rules)
        extras = base["extras"] | {"question_id": index, "question_type": kind}
        where = base["where"].replace("toy-image", "toy-question")
        return {
            "where": where,
            "id": base["id"],
            "image": base["image"],
            "question": question_answer[0],
            "answers": [question_answer[1]],
            "extras": extras,
        }


@DATASETS.register_module()
class ToyPairs(Adapter):
    """Two toy images and an English sentence about both, true or false (as in NLVR2).

    The label is True or False, each half of the time for sentences of every kind: ``both`` (both pictures show a red
    thing), ``one`` (only one does), ``side`` (the left one does and the right one does not), ``more`` (the left one
    shows more things). ``extras`` has ``kind``. Texts need ``dict(type="ToyTokenizer", tasks=True)``.

    Args:
        world: Arguments of :class:`~x2vlm.data.toy.world.ToyWorld`: ``num_scenes`` (here: pairs), ``split``,
            ``objects`` ...
        kinds: Which sentences.
        pipeline: Transforms.

    Raises:
        ValueError: If an option has no meaning.
    """

    def __init__(
        self,
        world: Mapping[str, Any] | ToyWorld = {},  # noqa: B006  (never changed)
        kinds: Sequence[str] = tuple(STATEMENTS),
        pipeline: Sequence[dict | Callable] = (),
    ) -> None:
        super().__init__(pipeline)
        self.world, self.kinds = _image_world(world), _checked_kinds(kinds, STATEMENTS, "ToyPairs")
        if self.kinds == ["more"] and len(set(self.world.rules.objects)) == 1:
            raise ValueError("ToyPairs: kind 'more' needs scenes of different numbers of things; widen world.objects")

    def __len__(self) -> int:
        return len(self.world)

    def record(self, index: int) -> Record:
        """The record at ``index``, the same at every call."""
        world = self.world
        name = f"toy-pair-{world.seed}-{world.split}-{index}"
        rng = Random(f"{name}/{','.join(self.kinds)}")
        kind, truth = rng.choice(self.kinds), rng.random() < 0.5
        for _ in range(_TRIES):
            scenes = [make_scene(rng, world.rules) for _ in range(2)]
            sentence = make_statement(rng, *scenes, kind, truth)
            if sentence is not None:
                break
        else:
            raise ValueError(f"ToyPairs: no pair of scenes fits a sentence of kind '{kind}' that is {truth}.")
        return {
            "where": f"toy-pair-{world.split}:{index}",
            "id": name,
            "images": [draw(scene) for scene in scenes],
            "caption": sentence,
            "label": truth,
            "extras": {"kind": kind},
        }


def _image_world(world: Mapping[str, Any] | ToyWorld) -> ToyWorld:
    if isinstance(world, Mapping):
        world = build(DATASETS, {"type": ToyWorld, **world}, path="world")
    if world.kind != "image":
        raise ValueError(f"world.kind is {world.kind!r}; questions and pairs are about still images: kind='image'")
    return world


def _checked_kinds(kinds: Sequence[str], accepted: Mapping[str, Any], dataset: str) -> list[str]:
    check_names(kinds, accepted, f"{dataset}: kinds has no")
    if not kinds:
        raise ValueError(f"{dataset}: kinds is empty. Accepted: {', '.join(accepted)}.")
    return list(kinds)
