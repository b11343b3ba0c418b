"""Inference workloads: re-ranking, encoding, answer ranking, captioning.

Shape letters: B pairs, U images, N patches, L tokens, D width, k candidates.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.benchmark.timing.device_precision import computing_in
from x2vlm.benchmark.timing.measurement import Run
from x2vlm.benchmark.workloads.model_sizes import FIRST_WORD, Size, make_model, pixels, ragged, texts
from x2vlm.benchmark.workloads.workload import CAPTION_TOKENS, Scale, Workload
from x2vlm.data.batch import Batch
from x2vlm.gallery.reranking.rerank_key_values import positive_logits
from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.models.generation.rank_answers import rank_answers
from x2vlm.models.outputs import Context, TextStates
from x2vlm.models.x2vlm import X2VLM
from x2vlm.reference import reference_tasks
from x2vlm.reference.reference_model import ReferenceModel, Tokens


def rerank(scale: Scale) -> list[Workload]:
    """Matching logits of the candidates of some images, and of some texts; all is encoded, in main memory."""
    size, device = scale.size, scale.device
    model = make_model(size, size.large).to(device).eval()
    reference, patches = ReferenceModel(model, CAPTION_TOKENS), (size.large // size.patch) ** 2
    generator = torch.Generator().manual_seed(5)
    by_image = _pairs(size, scale.queries, scale.queries * size.k, patches, generator)
    by_text = _pairs(size, size.k, scale.queries, patches, generator)
    image_rows = torch.arange(scale.queries).repeat_interleave(size.k)
    text_rows = torch.arange(scale.queries).repeat_interleave(size.k)

    def reference_texts() -> Tensor:
        images, words = by_image
        padded = _padded(words)
        return torch.cat(
            [
                reference_tasks.texts_of_an_image(
                    reference, images[q].to(device), _moved(padded, slice(q * size.k, (q + 1) * size.k), device)
                ).cpu()
                for q in range(scale.queries)
            ]
        )

    def reference_images() -> Tensor:
        images, words = by_text
        padded = _padded(words)
        each = [_moved(padded, slice(q, q + 1), device) for q in range(scale.queries)]
        return torch.cat([reference_tasks.images_of_a_text(reference, images.to(device), text).cpu() for text in each])

    def library_texts() -> Tensor:
        return positive_logits(model, _context(by_image[0]), image_rows, by_image[1], torch.arange(len(image_rows)))

    def library_images() -> Tensor:
        return positive_logits(
            model, _context(by_text[0]), torch.arange(size.k).repeat(scale.queries), by_text[1], text_rows
        )

    count = scale.queries * size.k
    return [
        Workload(f"re-ranking {size.k} {name}", _run(library, scale), _run(with_reference, scale), count, "pairs")
        for name, library, with_reference in (
            ("texts of an image", library_texts, reference_texts),
            ("images of a text", library_images, reference_images),
        )
    ]


def encode(scale: Scale) -> list[Workload]:
    """Features of images, and of texts of 6 to 16 tokens."""
    model, (images, texts) = make_model(scale.size, scale.size.large).to(scale.device).eval(), scale.encoded
    return [encode_images(model, scale.size.large, images, scale), encode_texts(model, texts, scale)]


def encode_images(model: X2VLM, side: int, count: int, scale: Scale) -> Workload:
    """Features of images of the model's size."""
    reference, batch = ReferenceModel(model, CAPTION_TOKENS), _images(count, side, scale.device)
    images = batch.pixels

    def with_reference() -> Tensor:
        return F.normalize(model.vision_proj(reference.encode_pixels(images)[:, 0]), dim=-1)

    library = _run(lambda: model.encode_context(batch).feat, scale)
    return Workload(f"encoding images of {side} pixels", library, _run(with_reference, scale), count, "images")


def encode_texts(model: X2VLM, count: int, scale: Scale) -> Workload:
    """Features of texts of 6 to 16 tokens."""
    reference, words = ReferenceModel(model, CAPTION_TOKENS), texts(scale.size, count, 16, seed=6)["text_ids"]
    mask = ragged(6 + torch.arange(count) % 11, 16).to(scale.device)
    words = words.to(scale.device).masked_fill(~mask, 0)

    def with_reference() -> Tensor:
        return F.normalize(model.text_proj(reference.encode_text(words, mask).embeds[:, 0]), dim=-1)

    library = _run(lambda: model.encode_text(words, mask).feat, scale)
    return Workload("encoding texts", library, _run(with_reference, scale), count, "texts")


def answer(scale: Scale) -> list[Workload]:
    """Ranking answers to two questions of 10 tokens, whose states are given."""
    size, questions = scale.size, 2
    torch.manual_seed(0)
    decoder = AnswerDecoder(size.width, size.vocab_size, size.fusion_depth).to(scale.device).eval()
    generator = torch.Generator().manual_seed(7)
    states = torch.randn(questions, 10, size.width, generator=generator)
    question_mask = torch.ones(questions, 10, dtype=torch.bool)
    lengths = torch.randint(3, 7, (size.answers,), generator=generator)  # [CLS], one to four words, [SEP]
    mask = ragged(lengths, 6)
    # Answers share their first words, as those of VQA do.
    ids = torch.randint(FIRST_WORD, FIRST_WORD + size.answers // 4, mask.shape, generator=generator)
    ids[:, 0] = 2
    ids = ids.scatter(1, lengths[:, None] - 1, 3).masked_fill(~mask, 0)
    states, question_mask, ids, mask = (part.to(scale.device) for part in (states, question_mask, ids, mask))
    room = CAPTION_TOKENS - 10
    padded = Tokens(F.pad(states, (0, 0, 0, room)), F.pad(question_mask, (0, room), value=False))

    def library() -> Any:
        return rank_answers(decoder, states, question_mask, ids, mask, size.ranked, first_token="twice")

    return [
        Workload(
            f"ranking {size.ranked} of {size.answers} answers",
            _run(library, scale),
            _run(lambda: reference_tasks.rank_answers(decoder, padded, ids, mask, size.ranked), scale),
            questions,
            "questions",
        )
    ]


def caption(scale: Scale) -> list[Workload]:
    """Captions of images with three beams, the vision encoder included."""
    size = scale.size
    objectives = {"caption": {"type": "CaptionGeneration", "prompt": "word1 word2 word3"}}
    model = make_model(size, size.caption, objectives).to(scale.device).eval()
    reference, batch = ReferenceModel(model), _images(scale.captioned, size.caption, scale.device)
    images = batch.pixels
    search = BeamSearch(beams=3, min_length=size.words, max_length=size.words)  # all of the maximum length
    objective = model.objectives["caption"]

    def with_reference() -> Any:
        reader = reference_tasks.ReferenceCaptionReader(reference, reference.encode_pixels(images))
        start = torch.tensor([objective.start_ids], device=images.device).expand(len(images), -1)
        return search(reader, start, objective.end_id)

    return [
        Workload(
            f"captions of {size.words} tokens, 3 beams, {size.caption} pixels",
            _run(lambda: objective.generate(model, model.encode(batch), search), scale),
            _run(with_reference, scale),
            len(images),
            "captions",
        )
    ]


def _run(run: Run, scale: Scale) -> Run:
    """Wrap a run: without gradients, in the precision of the scale."""

    def in_precision() -> Any:
        with torch.inference_mode(), computing_in(scale.precision, scale.device):
            return run()

    return in_precision


def _images(count: int, side: int, device: str) -> Batch:
    return Batch(None, None, pixels(count, side), torch.arange(count)).to(device)


def _moved(tokens: Tokens, rows: slice, device: str) -> Tokens:
    return Tokens(*(part[rows].to(device) for part in tokens))


def _pairs(size: Size, images: int, count: int, patches: int, generator: torch.Generator) -> tuple[Tensor, TextStates]:
    """Encoded images ``[U, 1 + N, D]`` and texts of 6 to 16 tokens, of random numbers."""
    tokens = torch.randn(images, patches, size.width, generator=generator)
    mask = ragged(6 + torch.arange(count) % 11, 16)
    embeds = torch.randn(count, 16, size.width, generator=generator)
    return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1), TextStates(embeds, mask)


def _padded(words: TextStates) -> Tokens:
    room = CAPTION_TOKENS - words.mask.shape[1]
    return Tokens(F.pad(words.embeds, (0, 0, 0, room)), F.pad(words.mask, (0, room), value=False))


def _context(images: Tensor) -> Context:
    mask = torch.ones(len(images), images.shape[1] - 1, dtype=torch.bool)
    return Context(images[:, 1:], torch.arange(len(images)), mask, images[:, 0])
