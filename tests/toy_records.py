"""Toy records in the shape that a config's pipelines expect, for configs whose own data are files."""

from typing import Any

import cv2

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import Record
from x2vlm.data.toy.world import ToyWorld
from x2vlm.registry import DATASETS

ANSWERS = ("red", "blue", "two")
ATTRIBUTES = [
    dict(name=f"color:{name}", freq_set=kind, is_has_att="is")
    for name, kind in (("red", "head"), ("blue", "medium"), ("large", "tail"))
]
OWN = ("ToyWorld", "ToyQuestions", "ToyPairs", "NlvrShapes")


@DATASETS.register_module(force=True)
class ToyRecords(Adapter):
    """Scenes of the toy world with captions, elements, questions, answers and labels, whatever is asked of them.

    Args:
        shows: ``image``, ``region``, ``images`` (two together), ``video``, ``text`` or ``parallel``.
        languages: Captions come as a dict with these keys; none: as a string.
        labels: What labels there are.
        size: Number of records.
        image_size: (height, width) that images are stretched to, where a pipeline takes one size only.
        pipeline: Transforms.
    """

    def __init__(self, shows="image", languages=(), labels=(0, 1), size=12, image_size=None, pipeline=()) -> None:
        super().__init__(pipeline)
        kind = "image" if shows == "images" else shows
        self.world = ToyWorld(kind=kind, num_scenes=size, objects=(2, 3))
        self.image_size = image_size
        self.shows, self.languages, self.labels = shows, tuple(languages), tuple(labels)

    def __len__(self) -> int:
        return len(self.world)

    def record(self, index: int) -> Record:
        record = self.world.record(index)
        said = record.get("caption", record.get("text", "a red circle"))
        if self.image_size:
            record["image"] = cv2.resize(record["image"], self.image_size[::-1])
        if self.shows == "images":
            record |= dict(images=[record.pop("image"), self.world.record((index + 1) % len(self))["image"]])
        if self.languages:
            record["caption"] = {name: said for name in self.languages}
        if self.shows == "region":
            record["elems"] = [
                elem | dict(extras=elem.get("extras", {}) | dict(attributes=[1, 0, -1 if i else 1]))
                for i, elem in enumerate(record["elems"])
            ]
        known = dict(choices=[*ANSWERS, "green", "one"], negatives=["three blue circles", "nothing"])
        known |= dict(question="What color is it?", answers=[ANSWERS[index % 2]] * 7 + [ANSWERS[2]] * 3, text_pair=said)
        known |= dict(label=self.labels[index % len(self.labels)])
        extras = dict(question_id=index, language="en", image_id=index, tag="object", type="CW", category="swap")
        return known | record | dict(extras=extras | record.get("extras", {}))


def name_of(part: Any) -> str:
    return part["type"] if isinstance(part["type"], str) else part["type"].__name__


def toy_records(dataset: Any, together: bool) -> Any:
    """The config of a data set of a few toy records that fit a data set's own pipeline.

    Args:
        dataset: The config of a data set that reads files.
        together: A text reads two pictures together.
    """
    if name_of(dataset) in OWN:
        (dataset.world if "world" in dataset else dataset).num_scenes = 12
        return dataset
    if "datasets" in dataset and not dataset.get("pipeline"):
        dataset.datasets = [toy_records(one, together) for one in dataset.datasets]
        return dataset
    steps = {name_of(step): step for step in dataset.pipeline}
    kinds = dict(
        SampleFrames="video",
        PickHardNegatives="image",
        PickRegions="region",
        PickPhrases="region",
        PickText="text",
        PickPair="parallel",
    )
    shows = next((kind for step, kind in kinds.items() if step in steps), "images" if together else "image")
    caption = dict(dataset.get("keys") or {}).get("caption")
    languages = {step["language"] for step in steps.values() if step.get("language")}
    languages |= set(caption) if isinstance(caption, dict) else set()
    labels = (0, 1)
    if "PickLabel" in steps:
        labels = (2.5, 3.0) if steps["PickLabel"].get("number") else steps["PickLabel"].get("classes") or labels
    if "AnswerLabel" in steps:
        steps["AnswerLabel"].classes = list(ANSWERS)
    if "PickChoices" in steps:
        labels = (0, 4, 2)
    if "MaskPatches" in steps:
        steps["MaskPatches"].update(grid=7, num_masked=18, min_block=4)
    size = (100, 400) if "NarrowStrips" in steps else None  # the only size of NLVR v1's images
    if shows != "text" or "PickLabel" not in steps:
        options = dict(shows=shows, languages=sorted(languages), labels=labels, image_size=size)
        return dict(type="ToyRecords", **options, pipeline=dataset.pipeline)
    return dict(type="ToyRecords", shows="text", labels=labels, pipeline=dataset.pipeline)
