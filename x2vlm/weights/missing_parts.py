"""Initialise parts that a pre-trained model lacks from parts that it has: word heads and answer decoders."""

import re
from collections.abc import Mapping

from torch import Tensor

from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.published_names import DECODER

Copied = dict[str, tuple[str, Tensor]]
_MLM, _CAPTION = "objectives.mlm.", "objectives.caption."
_WORDS = "text_encoder.net.embeddings.word_embeddings.weight"
_KEY = "crossattention.key.weight"
_KEY_OR_VALUE = re.compile(r"\.crossattention\.(key|value)\.")
# Parameters of the decoder that stay new where the fusion layers read tokens of another width.
NEW_IN_DECODER = (f"{DECODER}layer.*.crossattention.key", f"{DECODER}layer.*.crossattention.value")
_LAYER = re.compile(r"(.*?layer)\.(\d+)\.(.+)$")


def fill_caption_head(tensors: Mapping[str, Tensor], model_state: Mapping[str, Tensor]) -> Copied:
    """Initialise the caption head from the masked-word head, or the masked-word head from the caption head.

    Args:
        tensors: Those of the file, under our names.
        model_state: The model's.

    Returns:
        What is filled: name -> (name it is taken from, tensor). Empty where there is nothing to fill.
    """
    for target, source in ((_CAPTION, _MLM), (_MLM, _CAPTION)):
        if _has(model_state, target) and not _has(tensors, target):
            return {
                target + name.removeprefix(source): (name, value)
                for name, value in tensors.items()
                if name.startswith(source)
            }
    return {}


def fill_decoder(tensors: Mapping[str, Tensor], model_state: Mapping[str, Tensor]) -> Copied:
    """Initialise the answer decoder from the fusion layers, the text encoder's embeddings and the masked-word head.

    All fusion layers are taken, or every second one (the second, fourth, ...) where the decoder has half as many.
    Keys and values of cross-attention stay new where patches, which they read there, and the question's states, which
    they read here, are not equally wide. What has a row for each word is taken only together with the text encoder's
    words: a model with another text encoder (``Loading(skip="text_encoder")``) has other words.

    Args:
        tensors: Those of the file, under our names.
        model_state: The model's.

    Returns:
        What is filled: name -> (name it is taken from, tensor). Empty where the model has no decoder, or the file has
        one.

    Raises:
        CheckpointError: If the number of layers is neither the fusion encoder's nor half of it.
    """
    if not _has(model_state, DECODER) or _has(tensors, DECODER):
        return {}
    fusion_depth = _depth(tensors, "fusion_encoder.layer")
    depth = _depth(model_state, f"{DECODER}layer")
    if not fusion_depth:
        return {}
    filled: Copied = {}
    same_context_width = (
        tensors[f"fusion_encoder.layer.0.{_KEY}"].shape == model_state[f"{DECODER}layer.0.{_KEY}"].shape
    )
    for number, fusion_layer in enumerate(decoder_layers(fusion_depth, depth)):
        start = f"fusion_encoder.layer.{fusion_layer}."
        for name, value in tensors.items():
            target = f"{DECODER}layer.{number}.{name.removeprefix(start)}"
            if name.startswith(start) and (same_context_width or not _KEY_OR_VALUE.search(name)):
                filled[target] = (name, value)
    same_vocabulary = _WORDS in tensors and _WORDS in model_state and tensors[_WORDS].shape == model_state[_WORDS].shape
    for name, value in tensors.items():
        for source, target in (("text_encoder.net.embeddings.", f"{DECODER}embeddings."), (_MLM, DECODER)):
            new = target + name.removeprefix(source)
            if name.startswith(source) and new in model_state and (same_vocabulary or not _has_words(name)):
                filled[new] = (name, value)
    return filled


def _has_words(name: str) -> bool:
    """Whether a tensor has a row for each word, so that it is meaningless with another vocabulary."""
    return name.endswith(("word_embeddings.weight", f"{_MLM}bias", f"{_MLM}decoder.weight"))


def decoder_layers(fusion_depth: int, decoder_depth: int) -> list[int]:
    """Fusion layers from which an answer decoder is initialised: all, or the odd ones where it has half as many.

    Raises:
        CheckpointError: If it has another number.
    """
    if decoder_depth == fusion_depth:
        return list(range(fusion_depth))
    if 2 * decoder_depth == fusion_depth:
        return list(range(1, fusion_depth, 2))
    raise CheckpointError(
        f"an answer decoder of {decoder_depth} layers cannot be initialised from {fusion_depth} fusion layers: it "
        f"takes all, or every second. Set its depth to {fusion_depth} or {fusion_depth // 2}."
    )


def _has(state: Mapping[str, Tensor], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in state)


def _depth(state: Mapping[str, Tensor], layers: str) -> int:
    numbers = [int(match[2]) for match in map(_LAYER.match, state) if match and match[1] == layers]
    return 1 + max(numbers, default=-1)
