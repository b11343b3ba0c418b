"""Predictions of a trained model for an image or clip: matching texts, boxes of phrases, answers, captions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

import x2vlm
from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.building import build
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.gallery.matching import matching_logits
from x2vlm.inference.answer_questions import Answer, answer_questions
from x2vlm.inference.caption_images import Caption, caption_images
from x2vlm.inference.draw_boxes import COLORS, BoxAnnotation, ImageSource, draw_boxes, to_rgb_array
from x2vlm.inference.evaluation_pipeline import build_pipeline
from x2vlm.inference.input_pipeline import InputPipeline
from x2vlm.inference.renamed import renamed_argument, renamed_attributes
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.generation.search import Search
from x2vlm.models.join_outputs import to_cpu
from x2vlm.registry import INFERENCERS, MODELS, TOKENIZERS, TRANSFORMS
from x2vlm.weights import load_into

_renamed = renamed_argument("picture", "image")


@dataclass(frozen=True)
class Match:
    """Similarity of a text and the image.

    Attributes:
        text: The text, unchanged.
        similarity: Cosine of the image and text features, -1..1.
        probability: Matching probability of objective ``itm``, 0..1; None where it was not computed: the text is not
            among the nearest, or the model has no such objective.
    """

    text: str
    similarity: float
    probability: float | None


@dataclass(frozen=True)
class Grounding:
    """The predicted box of a phrase: ``box_xyxy_px`` in pixels of the original image."""

    text: str
    box_xyxy_px: tuple[float, float, float, float]


@INFERENCERS.register_module()
class Inferencer:
    """A model with the data pipeline of an evaluation, which prepares images and texts.

    Args:
        model: The model.
        pipeline: Transforms from a record to a sample, built. With ``SampleFrames`` the input is a clip.
        collate: Makes a batch of samples, built.
        chunk: Pairs whose matching is computed at once.
    """

    def __init__(self, model: Any, pipeline: Sequence[Callable], collate: Callable, chunk: int = 256) -> None:
        self.model, self.collate, self.chunk = model, collate, chunk
        self._inputs = InputPipeline(pipeline, collate, getattr(model.vision_encoder, "image_size", None))
        self.pipeline, self.video = self._inputs.steps, self._inputs.video

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
            checkpoint: A checkpoint of a run with this config, or a published one.
            evaluation: The evaluation whose pipeline is used, by name in ``evaluations``; None for the first that loads
                images. Name a video evaluation for clips.
            device: Where to compute.

        Raises:
            ConfigError: If the config is invalid, or has no such evaluation.
            CheckpointError: If there is no such checkpoint, or it is of another model.
        """
        cfg = config if isinstance(config, Config) else x2vlm.load_config(config)
        name, pipeline = build_pipeline(cfg.get("evaluations", {}), evaluation)
        tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer")
        collate = build(TRANSFORMS, cfg.evaluations[name].collate, f"evaluations.{name}.collate", tokenizer=tokenizer)
        model = build(MODELS, cfg.model, "model", tokenizer=tokenizer)
        load_into(model, checkpoint, complete=True)
        return cls(model.to(device).eval(), pipeline, collate)

    @_renamed
    def match(
        self, image: ImageSource | Sequence[ImageSource], texts: Sequence[str], k: int | None = None
    ) -> list[Match]:
        """Rank texts by how well they match an image (or clip).

        Args:
            image: A path, the bytes of a file, an array or a Pillow image; for clips a path or a sequence of frames.
            texts: One or more.
            k: Compute the matching probability of the ``k`` texts of highest cosine only, as retrieval does; None for
                all.

        Returns:
            All texts, best first: by probability, then (those without) by cosine.
        """
        with eval_mode(self.model):
            batch = self._inputs.batch(image, texts).to(self.model.device)
            context = self.model.encode_context(batch)
            encoded_texts = self.model.encode_text(batch.text_ids, batch.text_mask)
            similarity = (context.feat * encoded_texts.feat).sum(dim=-1)
            probability: dict[int, float] = {}
            if "itm" in self.model.objectives:
                nearest = similarity.topk(min(k or len(texts), len(texts))).indices.cpu()
                pairs = to_cpu(context), nearest, to_cpu(encoded_texts), nearest
                probabilities = matching_logits(self.model, *pairs, self.chunk).softmax(dim=-1)[:, 1]
                probability = dict(zip(nearest.tolist(), probabilities.tolist(), strict=True))
        matches = [Match(text, float(similarity[i]), probability.get(i)) for i, text in enumerate(texts)]
        return sorted(
            matches, key=lambda m: (-1.0 if m.probability is None else m.probability, m.similarity), reverse=True
        )

    @_renamed
    def locate(self, image: ImageSource, phrases: str | Sequence[str]) -> list[Grounding]:
        """Predict the box of each phrase in an image.

        Args:
            image: A path, the bytes of a file, an array or a Pillow image.
            phrases: One or more.

        Returns:
            A box per phrase, in their order.

        Raises:
            ValueError: If the model has no objective ``bbox``, or the inferencer takes clips.
        """
        require_objective(self.model, "bbox", "locate", advice="")
        if self.video:
            raise ValueError("locate takes an image, but this inferencer takes clips: name an image evaluation.")
        phrases = [phrases] if isinstance(phrases, str) else list(phrases)
        with eval_mode(self.model):
            batch = self._inputs.batch(image, phrases).to(self.model.device)
            objective = self.model.objectives["bbox"]
            (fused,) = self.model.read(objective.requests(self.model.encode(batch)))
            predicted = objective.box(fused.states).float()
        boxes = cxcywh_to_xyxy(predicted).clamp(0, 1).cpu() * _scale(to_rgb_array(image).shape)
        return [Grounding(phrase, tuple(box.tolist())) for phrase, box in zip(phrases, boxes, strict=True)]

    @_renamed
    def answer(
        self,
        image: ImageSource | Sequence[ImageSource],
        questions: str | Sequence[str],
        candidates: Sequence[str] | None = None,
        k: int = 128,
        best: int = 1,
        max_tokens: int = 10,
    ) -> list[Answer]:
        """Answer questions about an image (or clip).

        Args:
            image: A path, the bytes of a file, an array or a Pillow image; for clips a path or a sequence of frames.
            questions: One or more.
            candidates: Answers to rank; None generates answers.
            k: Candidates with the likeliest first tokens that are scored in full.
            best: Answers to return for each question, the runners-up in ``others``.
            max_tokens: Largest number of tokens of a generated answer.

        Returns:
            An answer per question, in their order.

        Raises:
            ValueError: If the model has no objective ``answer``, or there are no candidates.
        """
        questions = [questions] if isinstance(questions, str) else list(questions)
        options = {"candidates": candidates, "k": k, "best": best, "max_tokens": max_tokens}
        with eval_mode(self.model):
            batch = self._inputs.batch(image, questions).to(self.model.device)
            return answer_questions(self.model, batch, questions, self.collate.tokenizer, **options)

    @_renamed
    def caption(
        self, image: ImageSource | Sequence[ImageSource], search: dict[str, Any] | Search | None = None
    ) -> Caption:
        """Caption an image (or clip).

        Args:
            image: A path, the bytes of a file, an array or a Pillow image; for clips a path or a sequence of frames.
            search: Arguments of :class:`~x2vlm.models.generation.beam_search.BeamSearch` or, with ``type="Sampling"``,
                of :class:`~x2vlm.models.generation.sampling.Sampling`; None for the published search.

        Raises:
            ValueError: If the model has no objective ``caption``, or an argument of the search is invalid.
        """
        with eval_mode(self.model):
            batch = self._inputs.batch(image, ["image"]).to(self.model.device)
            return caption_images(self.model, batch, self.collate.tokenizer, search)[0]

    @_renamed
    def show(self, image: ImageSource, phrases: str | Sequence[str], side: int = 640) -> Any:
        """The image with the boxes of :meth:`locate`, a Pillow image whose longer side has ``side`` pixels."""
        grounded = self.locate(image, phrases)
        boxes = [
            BoxAnnotation(phrase.box_xyxy_px, phrase.text, COLORS[i % len(COLORS)]) for i, phrase in enumerate(grounded)
        ]
        return draw_boxes(image, boxes, side)


def _scale(shape: Sequence[int]) -> Tensor:
    height, width = shape[:2]
    return torch.tensor([width, height, width, height], dtype=torch.float)


__getattr__ = renamed_attributes(__name__, {"Found": Grounding})
