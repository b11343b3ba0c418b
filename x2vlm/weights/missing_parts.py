"""Parts that a pre-trained model does not have, filled from parts that it has: word heads and answer decoders."""

import re
from collections.abc import Mapping

from torch import Tensor

from x2vlm.weights.published_names import DECODER
from x2vlm.weights.weight_files import CheckpointError

Copied = dict[str, tuple[str, Tensor]]
_MLM, _CAPTION = "objectives.mlm.", "objectives.caption."
_WORDS = "text_encoder.net.embeddings.word_embeddings.weight"
_KEY = "crossattention.key.weight"
_KEY_OR_VALUE = re.compile(r"\.crossattention\.(key|value)\.")
# What the decoder may go without, if it begins as fusion layers that read tokens of another width.
NEW_IN_DECODER = (f"{DECODER}layer.*.crossattention.key", f"{DECODER}layer.*.crossattention.value")
_LAYER = re.compile(r"(.*?layer)\.(\d+)\.(.+)$")


def fill_caption_head(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Copied:
    """Captions are written by the head that guessed masked words (and, for whoever asks, the other way round).

    Args:
        given: Tensors under our names.
        wanted: The model's.

    Returns:
        What is filled: name -> (name it is taken from, tensor). Empty where there is nothing to fill.
    """
    for target, source in ((_CAPTION, _MLM), (_MLM, _CAPTION)):
        if _has(wanted, target) and not _has(given, target):
            return {
                target + name.removeprefix(source): (name, value)
                for name, value in given.items()
                if name.startswith(source)
            }
    return {}


def fill_decoder(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Copied:
    """The answer decoder begins as the fusion layers, with the text encoder's embeddings and the masked words' head.

    All fusion layers are taken, or every second one (the second, fourth, ...) where the decoder has half as many.
    Keys and values of cross-attention stay new where patches, which they read there, and the question's states, which
    they read here, are not equally wide. What has a row for each word is taken only together with the text encoder's
    words: a model with another text encoder (``Loading(skip="text_encoder")``) has other words.

    Args:
        given: Tensors under our names.
        wanted: The model's.

    Returns:
        What is filled: name -> (name it is taken from, tensor). Empty where there is no decoder, or it is given.

    Raises:
        CheckpointError: If the number of layers is neither the fusion encoder's nor half of it.
    """
    if not _has(wanted, DECODER) or _has(given, DECODER):
        return {}
    donors = _depth(given, "fusion_encoder.layer")
    depth = _depth(wanted, f"{DECODER}layer")
    if not donors:
        return {}
    filled: Copied = {}
    reads_alike = given[f"fusion_encoder.layer.0.{_KEY}"].shape == wanted[f"{DECODER}layer.0.{_KEY}"].shape
    for number, donor in enumerate(decoder_layers(donors, depth)):
        start = f"fusion_encoder.layer.{donor}."
        for name, value in given.items():
            target = f"{DECODER}layer.{number}.{name.removeprefix(start)}"
            if name.startswith(start) and (reads_alike or not _KEY_OR_VALUE.search(name)):
                filled[target] = (name, value)
    one_vocabulary = _WORDS in given and _WORDS in wanted and given[_WORDS].shape == wanted[_WORDS].shape
    for name, value in given.items():
        for source, target in (("text_encoder.net.embeddings.", f"{DECODER}embeddings."), (_MLM, DECODER)):
            new = target + name.removeprefix(source)
            if name.startswith(source) and new in wanted and (one_vocabulary or not _has_words(name)):
                filled[new] = (name, value)
    return filled


def _has_words(name: str) -> bool:
    """Whether a tensor has a row for each word: worth nothing with other words."""
    return name.endswith(("word_embeddings.weight", f"{_MLM}bias", f"{_MLM}decoder.weight"))


def decoder_layers(fusion_depth: int, decoder_depth: int) -> list[int]:
    """Which fusion layers an answer decoder begins as: all, or the odd ones where it has half as many.

    Raises:
        CheckpointError: If it has another number.
    """
    if decoder_depth == fusion_depth:
        return list(range(fusion_depth))
    if 2 * decoder_depth == fusion_depth:
        return list(range(1, fusion_depth, 2))
    raise CheckpointError(
        f"an answer decoder of {decoder_depth} layers cannot begin as {fusion_depth} fusion layers: it takes all, or "
        f"every second. Set its depth to {fusion_depth} or {fusion_depth // 2}."
    )


def _has(state: Mapping[str, Tensor], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in state)


def _depth(state: Mapping[str, Tensor], layers: str) -> int:
    numbers = [int(found[2]) for found in map(_LAYER.match, state) if found and found[1] == layers]
    return 1 + max(numbers, default=-1)
