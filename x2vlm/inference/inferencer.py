"""Ask a trained model: which of these texts fits this picture, where in it is this thing, what is the answer?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

import x2vlm
from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.building import build
from x2vlm.data.batch import Batch, Sample
from x2vlm.data.transforms.frames import SampleFrames
from x2vlm.data.transforms.labels import AnswerLabel, PickAnswers, PickLabel
from x2vlm.data.transforms.regions import PickPhrases, PickRegions
from x2vlm.gallery.matching import matching_logits
from x2vlm.gallery.retrieval_features import to_cpu
from x2vlm.inference.answer_questions import Answer, answer_questions
from x2vlm.inference.caption_images import SaidOfPicture, caption_pictures
from x2vlm.inference.draw_boxes import COLORS, DrawnBox, Picture, as_array, draw_boxes
from x2vlm.inference.trained_model import choose_pipeline, load_weights
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.generation.search import Search
from x2vlm.registry import INFERENCERS, MODELS, TOKENIZERS, TRANSFORMS


@dataclass(frozen=True)
class Match:
    """How well a text fits.

    Attributes:
        text: The text as it was given.
        similarity: Cosine of the features of picture and text, -1..1.
        probability: That they match, by the matching objective, 0..1; None where it was not asked: the text was not
            among the nearest, or the model has no such objective.
    """

    text: str
    similarity: float
    probability: float | None


@dataclass(frozen=True)
class Found:
    """Where a thing is: ``box_xyxy_px`` in pixels of the picture that was given."""

    text: str
    box_xyxy_px: tuple[float, float, float, float]


@INFERENCERS.register_module()
class Inferencer:
    """A model with everything between a person and it: the pipeline that pictures and texts go through in evaluation.

    Args:
        model: The model.
        pipeline: Transforms from a record to a sample, built. ``SampleFrames`` among them makes it answer about clips.
        collate: Makes a batch of samples, built.
        chunk: Texts that are matched at once.
    """

    def __init__(self, model: Any, pipeline: Sequence[Callable], collate: Callable, chunk: int = 256) -> None:
        self.model, self.collate, self.chunk = model, collate, chunk
        # Who asks does not know the answer.
        self.pipeline = [step for step in pipeline if not isinstance(step, (PickAnswers, AnswerLabel, PickLabel))]
        self.video = any(isinstance(step, SampleFrames) for step in self.pipeline)
        self._picker = next((step for step in self.pipeline if isinstance(step, (PickPhrases, PickRegions))), None)

    @classmethod
    def from_checkpoint(
        cls,
        config: str | PathLike | Config,
        checkpoint: str | PathLike,
        evaluation: str | None = None,
        device: str | torch.device = "cpu",
    ) -> "Inferencer":
        """The model of a config with the weights of a checkpoint.

        Args:
            config: A config, or its file.
            checkpoint: What training with it wrote.
            evaluation: Whose pipeline to use, by name in ``evaluations``; None takes the first that shows pictures.
                Name one that shows clips to ask about clips.
            device: Where to compute.

        Raises:
            ConfigError: If the config cannot work, or has no such evaluation.
            CheckpointError: If there is no such checkpoint, or it is of another model.
        """
        cfg = config if isinstance(config, Config) else x2vlm.load_config(config)
        name, pipeline = choose_pipeline(cfg.get("evaluations", {}), evaluation)
        tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer")
        collate = build(TRANSFORMS, cfg.evaluations[name].collate, f"evaluations.{name}.collate", tokenizer=tokenizer)
        model = build(MODELS, cfg.model, "model", tokenizer=tokenizer)
        load_weights(model, checkpoint)
        return cls(model.to(device).eval(), pipeline, collate)

    def match(self, picture: Picture | Sequence[Picture], texts: Sequence[str], k: int | None = None) -> list[Match]:
        """Which of these texts fits this picture?

        Args:
            picture: A path, the bytes of a file, an array or a Pillow image; for clips a path or a sequence of frames.
            texts: One or more.
            k: Match only the ``k`` texts of highest cosine, as retrieval does; None matches all.

        Returns:
            All texts, best first: by probability, then (those that were not matched) by cosine.
        """
        with eval_mode(self.model):
            batch = self._batch(picture, texts)
            context, view = self.model.encode_context(batch), self.model.encode_text(batch.text_ids, batch.text_mask)
            similarity = (context.feat * view.feat).sum(dim=-1)
            probability: dict[int, float] = {}
            if "itm" in self.model.objectives:
                nearest = similarity.topk(min(k or len(texts), len(texts))).indices.cpu()
                pairs = to_cpu(context), nearest, to_cpu(view), nearest
                matching = matching_logits(self.model, *pairs, self.chunk).softmax(dim=-1)[:, 1]
                probability = dict(zip(nearest.tolist(), matching.tolist(), strict=True))
        matches = [Match(text, float(similarity[i]), probability.get(i)) for i, text in enumerate(texts)]
        return sorted(
            matches, key=lambda m: (-1.0 if m.probability is None else m.probability, m.similarity), reverse=True
        )

    def locate(self, picture: Picture, phrases: str | Sequence[str]) -> list[Found]:
        """Where in the picture is what each phrase describes?

        Args:
            picture: A path, the bytes of a file, an array or a Pillow image.
            phrases: One or more.

        Returns:
            A box per phrase, in their order.

        Raises:
            ValueError: If the model predicts no boxes, or answers about clips.
        """
        if "bbox" not in self.model.objectives:
            known = ", ".join(self.model.objectives) or "none"
            raise ValueError(f"locate needs objective 'bbox', but this model's objectives are: {known}.")
        if self.video:
            raise ValueError(
                "locate answers about a picture, but this inferencer shows clips: name an image evaluation."
            )
        phrases = [phrases] if isinstance(phrases, str) else list(phrases)
        with eval_mode(self.model):
            batch = self._batch(picture, phrases)
            objective = self.model.objectives["bbox"]
            (found,) = self.model.read(objective.requests(self.model.encode(batch)))
            predicted = objective.box(found.states).float()
        boxes = cxcywh_to_xyxy(predicted).clamp(0, 1).cpu() * _scale(as_array(picture).shape)
        return [Found(phrase, tuple(box.tolist())) for phrase, box in zip(phrases, boxes, strict=True)]

    def answer(
        self,
        picture: Picture | Sequence[Picture],
        questions: str | Sequence[str],
        candidates: Sequence[str] | None = None,
        k: int = 128,
        best: int = 1,
        max_tokens: int = 10,
    ) -> list[Answer]:
        """What does the model answer to these questions about the picture (or clip)?

        Args:
            picture: A path, the bytes of a file, an array or a Pillow image; for clips a path or a sequence of frames.
            questions: One or more.
            candidates: Answers to choose from; None lets the model write.
            k: Of so many candidates of the likeliest first tokens the whole is scored.
            best: Answers to give to each question, the runners-up in ``others``.
            max_tokens: Most tokens of a written answer.

        Returns:
            An answer per question, in their order.

        Raises:
            ValueError: If the model has no objective ``answer``, or there is nothing to choose from.
        """
        questions = [questions] if isinstance(questions, str) else list(questions)
        options = {"candidates": candidates, "k": k, "best": best, "max_tokens": max_tokens}
        with eval_mode(self.model):
            batch = self._batch(picture, questions)
            return answer_questions(self.model, batch, questions, self.collate.tokenizer, **options)

    def caption(
        self, picture: Picture | Sequence[Picture], search: dict[str, Any] | Search | None = None
    ) -> SaidOfPicture:
        """What does the model say of the picture (or clip)?

        Args:
            picture: A path, the bytes of a file, an array or a Pillow image; for clips a path or a sequence of frames.
            search: How words are chosen: arguments of :class:`~x2vlm.models.generation.beam_search.BeamSearch` or, with
                ``type="Sampling"``, of :class:`~x2vlm.models.generation.sampling.Sampling`; the published search if not
                given.

        Raises:
            ValueError: If the model has no objective ``caption``, or the search has no meaning.
        """
        with eval_mode(self.model):
            return caption_pictures(self.model, self._batch(picture, ["picture"]), self.collate.tokenizer, search)[0]

    def show(self, picture: Picture, phrases: str | Sequence[str], side: int = 640) -> Any:
        """The picture (a Pillow image of that longer side) with what :meth:`locate` found."""
        found = self.locate(picture, phrases)
        boxes = [DrawnBox(one.box_xyxy_px, one.text, COLORS[i % len(COLORS)]) for i, one in enumerate(found)]
        return draw_boxes(picture, boxes, side)

    def _batch(self, picture: Picture | Sequence[Picture], texts: Sequence[str]) -> Batch:
        """Every text paired with all of the picture."""
        if isinstance(texts, str) or not texts:
            raise ValueError(f"expected one text or more in a sequence, got {texts!r}.")
        shown = self._shown(picture)
        sample = self._sample(shown, texts)
        if len(sample.texts) != len(texts):  # the pipeline picks one caption of several: it is given one at a time
            each = [self._sample(shown, [text]).texts for text in texts]
            count = len(texts)
            sample = replace(
                sample,
                texts=[one[0] for one in each],
                ids=[],
                boxes_xyxy=torch.zeros(count, 4),
                has_box=torch.zeros(count, dtype=torch.bool),
            )
        self._check_size(sample.pixels)
        batch = self.collate([sample])
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(texts), 4)
        batch = replace(batch, boxes_xyxy=whole, has_box=torch.zeros(len(texts), dtype=torch.bool), patch_mask=None)
        return batch.to(self.model.device)

    def _sample(self, shown: dict[str, Any], texts: Sequence[str]) -> Sample:
        if self._picker is not None:
            kind = {"kind": self._picker.kinds[0]} if self._picker.kinds else {}
            said = {"elems": [{"bb": (0, 0, 1, 1), "caption": text} | kind for text in texts]}
        else:
            said = {"caption": list(texts), "question": list(texts)}
        result: Any = {"where": "the question", "id": "picture", "extras": {}} | said | shown
        for step in self.pipeline:
            result = step(result)
        return result

    def _check_size(self, pixels: Tensor) -> None:
        given, taken = tuple(pixels.shape[-2:]), getattr(self.model.vision_encoder, "image_size", None)
        if taken is not None and given != tuple(taken):
            raise ValueError(
                f"the evaluation's pipeline gives a picture of {given[0]}x{given[1]} but the model takes "
                f"{taken[0]}x{taken[1]}. Put dict(type='Resize', size={tuple(taken)}) before PackSample there."
            )

    def _shown(self, picture: Picture | Sequence[Picture]) -> dict[str, Any]:
        if not self.video:
            return {"image": as_array(picture)}
        if isinstance(picture, str | PathLike):
            return {"video": picture}
        return {"video": [as_array(frame) for frame in picture]}


def _scale(shape: Sequence[int]) -> Tensor:
    height, width = shape[:2]
    return torch.tensor([width, height, width, height], dtype=torch.float)
