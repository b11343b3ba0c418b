"""Activation memory: what the forward pass of one stream saves for its backward pass, by formula.

Layers are counted tensor by tensor: what each operation saves. The tests compare the sum with what autograd saves.

Letters: B pairs, U distinct contexts, F frames, L tokens, M masked tokens, D width, V words.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from x2vlm.planning.model_shapes import BatchShape, FusionShape, ModelShape, TextShape, VisionShape

FULL = 4  # bytes of a number in fp32
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class SavedTensors:
    """Saved tensors: elements in autocast precision, elements in fp32, and bytes of dropout masks.

    In fp32 a tensor that several layers read is saved once; under autocast each layer casts it and saves its own copy.
    ``copies`` are these additional elements.
    """

    half: float = 0
    full: float = 0
    mask_bytes: float = 0
    copies: float = 0

    def __add__(self, other: "SavedTensors") -> "SavedTensors":
        return SavedTensors(
            self.half + other.half,
            self.full + other.full,
            self.mask_bytes + other.mask_bytes,
            self.copies + other.copies,
        )

    def __mul__(self, times: float) -> "SavedTensors":
        return SavedTensors(self.half * times, self.full * times, self.mask_bytes * times, self.copies * times)

    def bytes(self, precision: str = "fp32") -> float:
        """Bytes at an autocast precision: ``fp32``, ``bf16`` or ``fp16``."""
        copies = 0 if precision == "fp32" else self.copies
        return (self.half + copies) * BYTES[precision] + self.full * FULL + self.mask_bytes


def vision_block(shape: VisionShape) -> SavedTensors:
    """A block for one image: per token the inputs of two norms, and 8 D of linear layers, attention and GELU.

    Outputs of norms and GELUs are recomputed, and layer scales are folded into weights; see
    ``x2vlm.models.autograd.recompute``.
    """
    d, n = shape.width, shape.tokens
    # q k v 3 D, attention output D, input of GELU 4 D
    return SavedTensors(half=8 * d * n, full=(2 * d + shape.num_heads + 4) * n)


def vision_layer(shape: VisionShape, images: int) -> SavedTensors:
    """A block for all images, with what it computes once: the relative position bias, and scaled weights.

    Under autocast the latter are among the cast weights, which are counted elsewhere.
    """
    weights = SavedTensors(half=shape.width**2, copies=-(shape.width**2))
    once = weights + SavedTensors(full=shape.num_heads * shape.tokens**2 + 2 * shape.width)
    return vision_block(shape) * images + once


def text_layer(width: int, mlp_width: int, num_heads: int, length: int, dropout: bool) -> SavedTensors:
    """A layer for one text of ``length`` tokens: self-attention and feed-forward."""
    # Input of q, k, v: D; q k v 3 D; attention output D; input of the feed-forward: D.
    half, full = 6 * width + 2 * mlp_width, 2 * width + num_heads + 4  # inputs of the two norms
    return SavedTensors(half * length, full * length, 2 * width * length * dropout)


@dataclass(frozen=True)
class FusionInputs:
    """Texts that go through the fusion encoder, and the contexts that they attend to.

    Attributes:
        texts: Texts, each with a context.
        outputs: Tokens whose output states are used: only those go through all of the last layer.
        max_outputs: Of one text.
        contexts: Distinct contexts; 0 where there are none.
        tokens: Of each context, with the summary tokens of its regions.
        masked: Whether texts attend to regions of contexts, so that there is a mask.
        imbalance: Padded queries per query: queries of one context are grouped, in groups of one size.
    """

    texts: int
    outputs: int
    max_outputs: int
    contexts: int
    tokens: int
    masked: bool
    imbalance: float


def fusion_layer(shape: FusionShape, inputs: FusionInputs, length: int, dropout: bool, last: bool) -> SavedTensors:
    """A fusion layer for all texts of ``length`` tokens: self-attention, cross-attention, feed-forward.

    In the last layer only output tokens are queries; all tokens are keys and values.
    """
    d, heads, count = shape.width, shape.num_heads, inputs.texts * length
    if last:
        # Input of k and v: D; k v 2 D; then the output tokens, their queries padded to one number a text.
        queries, padded = inputs.outputs, inputs.texts * inputs.max_outputs
        saved = SavedTensors(3 * d * count) + SavedTensors(half=d, full=2) * queries
        saved += SavedTensors(2 * d, heads) * padded
        saved += SavedTensors(half=d, full=2) * queries * (inputs.max_outputs > 1)  # packed again, with indices
    else:
        queries = count
        saved = SavedTensors(half=5 * d, full=heads) * count  # input of q, k, v: D; q k v 3 D; attention output D
    saved += SavedTensors(full=d + 2, mask_bytes=d * dropout) * queries  # input of the norm
    if inputs.contexts:
        saved += cross_attention(shape, inputs, queries, dropout)
    # Inputs of the feed-forward, GELU and norm.
    return saved + SavedTensors(half=shape.mlp_width, full=2 * d + 2, mask_bytes=d * dropout) * queries


def cross_attention(shape: FusionShape, inputs: FusionInputs, queries: int, dropout: bool) -> SavedTensors:
    """Cross-attention of a fusion layer with a number of queries; keys and values are projected once per context."""
    d = shape.width
    per_query = SavedTensors(half=2 * d, full=d + 2 + 2, mask_bytes=d * dropout) * queries  # input, gathered; indices
    per_padded = SavedTensors(half=2 * d + inputs.tokens * inputs.masked, full=shape.num_heads)
    keys_and_values = SavedTensors(half=2 * d + shape.context_width) * (inputs.contexts * inputs.tokens)
    return per_query + per_padded * (queries * inputs.imbalance) + keys_and_values


def embeddings(shape: TextShape, length: int, dropout: bool) -> SavedTensors:
    """Embeddings of one text: input of the norm, and the dropout after it."""
    return SavedTensors(full=(shape.width + 2 + 3 * 2) * length, mask_bytes=shape.width * length * dropout)


def activations(
    shape: ModelShape, batch: BatchShape, checkpointing: bool = False, imbalance: float = 2.0
) -> SavedTensors:
    """Saved tensors of the forward pass of one stream, all texts having the maximum length.

    Args:
        shape: The model.
        batch: The stream's batch.
        checkpointing: Activation checkpointing: only the inputs of every layer; :func:`recomputed` comes on top.
        imbalance: Queries of the context with most queries over the mean; above 2 groups are split.
    """
    vision, text = shape.vision, shape.text
    inputs, total = _fusion_inputs(shape, batch, imbalance), SavedTensors()
    for layer, depth, input_size in _layers(shape, batch, inputs):
        total += SavedTensors(full=input_size * depth) if checkpointing else layer * depth
    if vision and batch.frames:
        images, d, n = batch.contexts * batch.frames, vision.width, vision.tokens
        pixels = 3 * vision.patch_size**2 * (n - 1)
        total += SavedTensors(pixels * images, (d + 2) * n * images)  # pixels; input of the last norm
    if text and batch.tokens:
        # Output of the encoder, of which projections and the fusion encoder read parts.
        output = SavedTensors(text.width * batch.tokens)
        total += (embeddings(text, batch.tokens, shape.dropout) + output) * _texts(batch)
    if shape.fusion and inputs.texts:
        total += SavedTensors(full=2 * inputs.texts * batch.tokens)  # indices of texts
        if checkpointing:  # attention masks, a byte an entry, for the last layer and for the others
            mask = inputs.contexts and inputs.masked and inputs.tokens * inputs.imbalance
            total += SavedTensors(mask_bytes=mask * (inputs.texts * batch.tokens + inputs.outputs))
    return total + _heads(shape, batch)


def _heads(shape: ModelShape, batch: BatchShape) -> SavedTensors:
    """The heads of masked language modelling, matching and box prediction."""
    total, fusion_width = SavedTensors(), shape.fusion.width if shape.fusion else 0
    if "mlm" in batch.objectives and shape.text:
        masked, width = batch.pairs * batch.masks, fusion_width or shape.text.width
        # Inputs of linear layer, GELU and norm; the gradient of the word embeddings is computed with the logits.
        gradient = (width + 1) * shape.text.vocab_size
        total += SavedTensors(3 * width * masked, (width + 2) * masked + gradient)
    texts = batch.pairs * sum({"itm": 3, "bbox": 1}.get(name, 0) for name in batch.objectives)
    # Inputs of two linear layers, GELU and norm.
    return total + SavedTensors(half=5 * fusion_width, full=2 * fusion_width + 2) * texts


def recomputed(shape: ModelShape, batch: BatchShape) -> SavedTensors:
    """With activation checkpointing, additional saved tensors while the largest layer is recomputed."""
    layers = [layer for layer, _, _ in _layers(shape, batch, _fusion_inputs(shape, batch, imbalance=2.0))]
    return max(layers, key=lambda saved: saved.bytes("fp32"), default=SavedTensors())


def _layers(shape: ModelShape, batch: BatchShape, inputs: FusionInputs) -> Iterator[tuple[SavedTensors, int, float]]:
    """For each kind of layer the saved tensors of one, the number of layers, and the elements of a layer's input."""
    vision, text, fusion = shape.vision, shape.text, shape.fusion
    if vision and batch.frames:
        images = batch.contexts * batch.frames
        yield vision_layer(vision, images), vision.depth, vision.tokens * vision.width * images
    if text and batch.tokens:
        layer = text_layer(text.width, text.mlp_width, text.num_heads, batch.tokens, shape.dropout)
        yield layer * _texts(batch), text.depth, text.width * batch.tokens * _texts(batch)
    if fusion and inputs.texts:
        size = fusion.width * batch.tokens * inputs.texts
        yield fusion_layer(fusion, inputs, batch.tokens, shape.dropout, last=False), fusion.depth - 1, size
        yield fusion_layer(fusion, inputs, batch.tokens, shape.dropout, last=True), 1, size


def _texts(batch: BatchShape) -> int:
    """Texts that the text encoder reads: each, once more with masked words, and sentences as contexts."""
    plain = any(name != "mlm" for name in batch.objectives) or batch.sentences
    return batch.pairs * (plain + ("mlm" in batch.objectives)) + batch.contexts * batch.sentences


def _fusion_inputs(shape: ModelShape, batch: BatchShape, imbalance: float) -> FusionInputs:
    """Matching reads three texts a pair, MLM and boxes one; outputs are the summary tokens, and the masked words."""
    texts = {name: times * batch.pairs for name, times in {"itm": 3, "mlm": 1, "bbox": 1}.items()}
    outputs = {name: batch.masks if name == "mlm" else 1 for name in texts}
    used = [name for name in texts if name in batch.objectives]
    tokens = batch.tokens - 1 if batch.sentences else shape.vision.tokens - 1 if shape.vision and batch.frames else 0
    regions = "bbox" in batch.objectives or batch.pairs > batch.contexts
    summaries = 0
    if batch.contexts:
        summaries = -(-batch.pairs // batch.contexts) * regions + ("bbox" in used or not regions)
    return FusionInputs(
        texts=sum(texts[name] for name in used),
        outputs=sum(texts[name] * outputs[name] for name in used),
        max_outputs=max((outputs[name] for name in used), default=0),
        contexts=batch.contexts if tokens else 0,
        tokens=tokens + summaries,
        masked=regions or batch.sentences,
        imbalance=imbalance,
    )
