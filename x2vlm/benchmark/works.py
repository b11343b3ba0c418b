"""What is measured: each work is done by the library and by the plain path, on the same inputs with the same weights.

Training steps are in :mod:`x2vlm.benchmark.training`, works that begin with files in :mod:`x2vlm.benchmark.reading`.

Shape letters: B pairs, U images, N patches, L tokens, D width, k candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.benchmark import plain_tasks
from x2vlm.benchmark.plain import PlainPath, Tokens
from x2vlm.benchmark.sizes import FIRST_WORD, Size, make_model, pixels, ragged, texts
from x2vlm.data.batch import Batch
from x2vlm.evaluation.matching import match_logits
from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.models.generation.answers import rank_answers
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.models.outputs import Context, TextStates
from x2vlm.models.x2vlm import X2VLM

Run = Callable[[], Any]
CAPTION_TOKENS = 40


@dataclass(frozen=True)
class Work:
    """One thing to do, twice.

    Attributes:
        name: What a table calls it.
        library: Does it with the library; returns what came out.
        plain: Does the same plainly.
        count: How much is done.
        unit: Of what.
        parts: Growing shares of the work (each does a little more than the one before), by name: for both sides.
    """

    name: str
    library: Run
    plain: Run
    count: int
    unit: str
    parts: dict[str, tuple[Run, Run]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How much of it is done.

    Attributes:
        size: Of the model.
        pairs: Captions, and as many regions, of a training step.
        queries: Images (texts) whose texts (images) are ranked.
        dropout: In training.
        precision: Of the library in training steps, ``bf16`` by autocast; the plain path is always fp32.
        compiled: Whether the library compiles the blocks of its towers in training steps.
    """

    size: Size
    pairs: int = 8
    queries: int = 4
    dropout: float = 0.1
    precision: str = "fp32"
    compiled: bool = False


def rerank(scale: Scale) -> list[Work]:
    """Matching logits of the candidates of some images, and of some texts; all is encoded already."""
    size = scale.size
    model = make_model(size, size.large).eval()
    plain, patches = PlainPath(model, CAPTION_TOKENS), (size.large // size.patch) ** 2
    generator = torch.Generator().manual_seed(5)
    by_image = _pairs(size, scale.queries, scale.queries * size.k, patches, generator)
    by_text = _pairs(size, size.k, scale.queries, patches, generator)
    image_rows = torch.arange(scale.queries).repeat_interleave(size.k)
    text_rows = torch.arange(scale.queries).repeat_interleave(size.k)

    def plain_texts() -> Tensor:
        images, words = by_image
        padded = _padded(words)
        return torch.cat(
            [
                plain_tasks.texts_of_an_image(
                    plain, images[q], Tokens(*(part[q * size.k : (q + 1) * size.k] for part in padded))
                )
                for q in range(scale.queries)
            ]
        )

    def plain_images() -> Tensor:
        images, words = by_text
        padded = _padded(words)
        each = [Tokens(*(part[q : q + 1] for part in padded)) for q in range(scale.queries)]
        return torch.cat([plain_tasks.images_of_a_text(plain, images, text) for text in each])

    def library_texts() -> Tensor:
        return match_logits(model, _context(by_image[0]), image_rows, by_image[1], torch.arange(len(image_rows)))

    def library_images() -> Tensor:
        return match_logits(
            model, _context(by_text[0]), torch.arange(size.k).repeat(scale.queries), by_text[1], text_rows
        )

    count = scale.queries * size.k
    return [
        Work(f"re-ranking {size.k} texts of an image", _quietly(library_texts), _quietly(plain_texts), count, "pairs"),
        Work(f"re-ranking {size.k} images of a text", _quietly(library_images), _quietly(plain_images), count, "pairs"),
    ]


def encode(scale: Scale) -> list[Work]:
    """Features of images, and of texts of 6 to 16 tokens."""
    model = make_model(scale.size, scale.size.large).eval()
    return [encode_images(model, scale.size.large, 4), encode_texts(model, scale.size, 32)]


def encode_images(model: X2VLM, side: int, count: int) -> Work:
    """Features of pictures of the size that the model takes."""
    plain, images = PlainPath(model, CAPTION_TOKENS), pixels(count, side)
    batch = Batch(None, None, images, torch.arange(count))

    def plainly() -> Tensor:
        return F.normalize(model.vision_proj(plain.encode_pixels(images)[:, 0]), dim=-1)

    library = _quietly(lambda: model.encode_context(batch).feat)
    return Work(f"encoding images of {side} pixels", library, _quietly(plainly), count, "images")


def encode_texts(model: X2VLM, size: Size, count: int) -> Work:
    """Features of texts of 6 to 16 tokens."""
    plain, words = PlainPath(model, CAPTION_TOKENS), texts(size, count, 16, seed=6)["text_ids"]
    mask = ragged(6 + torch.arange(count) % 11, 16)
    words = words.masked_fill(~mask, 0)

    def plainly() -> Tensor:
        return F.normalize(model.text_proj(plain.encode_text(words, mask).embeds[:, 0]), dim=-1)

    library = _quietly(lambda: model.encode_text(words, mask).feat)
    return Work("encoding texts", library, _quietly(plainly), count, "texts")


def answer(scale: Scale) -> list[Work]:
    """Ranking answers to two questions of 10 tokens, whose states are there already."""
    size, questions = scale.size, 2
    torch.manual_seed(0)
    decoder = AnswerDecoder(size.width, size.vocab_size, size.fusion_depth).eval()
    generator = torch.Generator().manual_seed(7)
    states = torch.randn(questions, 10, size.width, generator=generator)
    sees = torch.ones(questions, 10, dtype=torch.bool)
    lengths = torch.randint(3, 7, (size.answers,), generator=generator)  # [CLS], one to four words, [SEP]
    mask = ragged(lengths, 6)
    # Answers share their first words, as those of VQA do.
    ids = torch.randint(FIRST_WORD, FIRST_WORD + size.answers // 4, mask.shape, generator=generator)
    ids[:, 0] = 2
    ids = ids.scatter(1, lengths[:, None] - 1, 3).masked_fill(~mask, 0)
    room = CAPTION_TOKENS - 10
    padded = Tokens(F.pad(states, (0, 0, 0, room)), F.pad(sees, (0, room), value=False))

    def library() -> Any:
        return rank_answers(decoder, states, sees, ids, mask, size.ranked, first_token="twice")

    return [
        Work(
            f"ranking {size.ranked} of {size.answers} answers",
            _quietly(library),
            _quietly(lambda: plain_tasks.rank_answers(decoder, padded, ids, mask, size.ranked)),
            questions,
            "questions",
        )
    ]


def caption(scale: Scale) -> list[Work]:
    """Writing captions of two pictures with three beams, the vision encoder included."""
    size = scale.size
    objectives = {"caption": {"type": "CaptionGeneration", "prompt": "word1 word2 word3"}}
    model = make_model(size, size.caption, objectives).eval()
    plain, images = PlainPath(model), pixels(2, size.caption)
    search = BeamSearch(beams=3, min_length=size.words, max_length=size.words)  # all of them as long as they may be
    batch = Batch(None, None, images, torch.arange(2))
    objective = model.objectives["caption"]

    def written_plainly() -> Any:
        reader = plain_tasks.PlainCaptionReader(plain, plain.encode_pixels(images))
        return search(reader, torch.tensor([objective.start_ids]).expand(len(images), -1), objective.end_id)

    return [
        Work(
            f"captions of {size.words} tokens, 3 beams, {size.caption} pixels",
            _quietly(lambda: objective.generate(model, model.encode(batch), search)),
            _quietly(written_plainly),
            len(images),
            "captions",
        )
    ]


def _quietly(run: Run) -> Run:
    return torch.inference_mode()(run)


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
