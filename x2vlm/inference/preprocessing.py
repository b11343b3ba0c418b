"""How a model's images and texts are prepared: read from its folder or from the evaluations of a config."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.building import resolve, suggestion
from x2vlm.data.transforms.class_names import read_classes
from x2vlm.data.transforms.images.geometry import parse_size
from x2vlm.data.transforms.images.load_crop_flip import Resize
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.data.transforms.pack_sample import CLIP_MEAN, CLIP_STD, PackSample
from x2vlm.data.transforms.regions import PickPhrases, PickRegions
from x2vlm.data.transforms.sample_frames import SampleFrames
from x2vlm.data.transforms.texts.text_transforms import AllCaptions, PickCaption, PickQuestion, PickText
from x2vlm.part_errors import ConfigError
from x2vlm.registry import TRANSFORMS


@dataclass(frozen=True)
class Preprocessing:
    """How images and texts are prepared, and what a search re-ranks is ordered; a saved model carries it.

    Attributes:
        image_size: Height and width of the model's input; None for a model of texts alone.
        mean: Subtracted from each channel of the image, whose values are 0..1.
        std: Each channel is divided by this.
        resize_backend: See :func:`~x2vlm.data.transforms.images.geometry.resize`.
        num_frames: Frames read of a clip; 0: the model takes no clips.
        max_tokens: Texts are cut to so many tokens, [CLS] and [SEP] included; None: as many as there are positions.
        max_words: Captions and phrases are cut to so many words before; None keeps all.
        max_question_words: The same of questions.
        clean: Whether captions, phrases and questions are lower-cased and freed of punctuation, as published.
        clean_sentences: The same of plain sentences (lower case and white space only).
        classes: Names of the classes of objective ``classification``, in their order; empty where not known.
        cosine_weight: Images that a search re-ranks are ordered by matching plus so many times the cosine, as by
            ``RetrievalMetric(cosine_weight=...)``, from which it is taken; 0: by matching alone.
    """

    image_size: tuple[int, int] | None = (224, 224)
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    resize_backend: str = "torch"
    num_frames: int = 0
    max_tokens: int | None = 40
    max_words: int | None = None
    max_question_words: int | None = None
    clean: bool = True
    clean_sentences: bool = True
    classes: tuple[str, ...] = field(default=())
    cosine_weight: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``cosine_weight`` where there is one."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in values.items() if value or key != "cosine_weight"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """What :meth:`to_dict` gave.

        Raises:
            ConfigError: If there is another key.
        """
        unknown = sorted(values.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise ConfigError(f"has no setting {', '.join(unknown)}. Accepted: {known}.", "preprocessing")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})

    @classmethod
    def of_model(cls, model: Any) -> "Preprocessing":
        """What a model carries; else its image size and frames, with the published means and deviations."""
        carried = getattr(model, "preprocessing", None)
        if carried:
            return cls.from_dict(carried)
        size = getattr(model.vision_encoder, "image_size", None)
        return cls(tuple(size) if size else None, num_frames=model.num_frames)


def preprocessing_of_config(cfg: Mapping[str, Any], model: Any, evaluation: str | None = None) -> Preprocessing:
    """How the evaluations of a config prepare what they read.

    Args:
        cfg: A config with ``evaluations``.
        model: Its model, for what the evaluations do not say.
        evaluation: Whose settings count, by name; None takes, for each setting, the first that has it.

    Raises:
        ConfigError: If there is no such evaluation.
    """
    evaluations = cfg.get("evaluations") or {}
    if evaluation is not None:
        if evaluation not in evaluations:
            known = ", ".join(evaluations) or "none"
            near = suggestion(evaluation, evaluations)
            raise ConfigError(f"there is no '{evaluation}'.{near} There are: {known}.", "evaluations")
        evaluations = {evaluation: evaluations[evaluation]}
    settings = Preprocessing.of_model(model)
    parts = list(evaluations.values())[::-1]  # what the first evaluation says comes last, and counts
    for part in parts:
        if "max_tokens" in (part.get("collate") or {}):
            settings = replace(settings, max_tokens=part["collate"]["max_tokens"])
        if isinstance(metric := part.get("metric"), Mapping) and "cosine_weight" in metric:
            settings = replace(settings, cosine_weight=float(metric["cosine_weight"]))
    for step in (step for part in parts for step in _steps(part.get("dataset"))):
        settings = replace(settings, **_settings_of(*step))
    return settings if model.num_frames else replace(settings, num_frames=0)


def _steps(dataset: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The transforms of a data set and of those inside it: each with its arguments, defaults filled in.

    Nothing is built: files that a transform names need not be here.
    """
    if not isinstance(dataset, Mapping):
        return
    for step in dataset.get("pipeline") or ():
        if isinstance(step, Mapping):
            kind = resolve(TRANSFORMS, step["type"])
            known = {
                name: one.default for name, one in signature(kind).parameters.items() if one.default is not one.empty
            }
            yield kind, known | {key: value for key, value in step.items() if key != "type"}
    for inner in dataset.get("datasets") or ():
        yield from _steps(inner)


def _settings_of(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What one transform says."""
    if kind is Resize:
        return {"image_size": parse_size(given["size"]), "resize_backend": given["backend"]}
    if kind is PackSample:
        return {"mean": tuple(given["mean"]), "std": tuple(given["std"])}
    if kind is SampleFrames:
        return {"num_frames": given["num_frames"]}
    if kind is PickLabel:
        return {"classes": _class_names(given["classes"])}
    if kind is PickText:
        return {"clean_sentences": given["clean"]}
    if kind is PickQuestion:
        return {"max_question_words": given["max_words"]}
    if kind in (PickCaption, AllCaptions, PickRegions, PickPhrases):
        return {name: given[name] for name in ("max_words", "clean") if name in given}
    return {}


def _class_names(classes: Any) -> tuple[str, ...]:
    """Names in order, if they can be known here."""
    if isinstance(classes, str | PathLike) and not Path(classes).is_file():
        return ()
    named = {} if classes is None else read_classes(classes, "PickLabel.classes")
    return tuple(sorted(named, key=named.get))
