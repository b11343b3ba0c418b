"""What the forward pass of one stream keeps for its backward pass, from formulas.

Layers are counted tensor by tensor: what each operation in them saves. The tests compare the sum with what autograd
saves.

Letters: B pairs, U distinct contexts, F frames, L tokens, M masked tokens, D width, V words.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from x2vlm.planning.model_shapes import FusionShape, Load, ModelShape, TextShape, VisionShape

FULL = 4  # bytes of a number in fp32
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Kept:
    """What is kept: numbers in the precision of the products, numbers in fp32, and bytes of dropout masks.

    In fp32 a tensor that several layers read is kept once; below fp32 each of the layers casts it and keeps its own
    copy. ``copies`` are these additional ones.
    """

    half: float = 0
    full: float = 0
    mask_bytes: float = 0
    copies: float = 0

    def __add__(self, other: "Kept") -> "Kept":
        return Kept(
            self.half + other.half,
            self.full + other.full,
            self.mask_bytes + other.mask_bytes,
            self.copies + other.copies,
        )

    def __mul__(self, times: float) -> "Kept":
        return Kept(self.half * times, self.full * times, self.mask_bytes * times, self.copies * times)

    def bytes(self, precision: str = "fp32") -> float:
        """In bytes, at a precision of the products: ``fp32``, ``bf16`` or ``fp16``."""
        copies = 0 if precision == "fp32" else self.copies
        return (self.half + copies) * BYTES[precision] + self.full * FULL + self.mask_bytes


def vision_block(shape: VisionShape) -> Kept:
    """A block for one image: per token what two norms read, and 8 D of products, attention and GELU.

    What norms and GELUs give is computed again, and scales are taken into weights; see ``x2vlm.models.ops.recompute``.
    """
    d, n = shape.width, shape.tokens
    return Kept(half=8 * d * n, full=(2 * d + shape.num_heads + 4) * n)  # q k v 3 D, attended D, read by GELU 4 D


def vision_layer(shape: VisionShape, images: int) -> Kept:
    """A block for all images, with what it makes once: the bias of positions, and scaled weights.

    Below fp32 these are among the cast weights, which are counted elsewhere.
    """
    weights = Kept(half=shape.width**2, copies=-(shape.width**2))
    once = weights + Kept(full=shape.num_heads * shape.tokens**2 + 2 * shape.width)
    return vision_block(shape) * images + once


def text_layer(width: int, mlp_width: int, num_heads: int, length: int, dropout: bool) -> Kept:
    """A layer for one text of ``length`` tokens: self-attention and feed-forward."""
    # Read by q, k, v: D; q k v 3 D; attended D; read by the feed-forward: D.
    half, full = 6 * width + 2 * mlp_width, 2 * width + num_heads + 4  # into the two norms
    return Kept(half * length, full * length, 2 * width * length * dropout)


@dataclass(frozen=True)
class Asked:
    """What a stream has read, and the contexts that are asked, of ``tokens`` each.

    Attributes:
        rows: Texts that are read, each with a context.
        wanted: Their tokens whose states are wanted: those go through all of the last layer.
        most: Of one text.
        contexts: Distinct contexts; 0 where there are none.
        tokens: Of each, with the summaries of the parts that are read.
        parts: Whether texts see parts of contexts, so that there is a mask.
        unevenly: Places for each token that asks: those of one context stand together, in groups of one size.
    """

    rows: int
    wanted: int
    most: int
    contexts: int
    tokens: int
    parts: bool
    unevenly: float


def fusion_layer(shape: FusionShape, asked: Asked, length: int, dropout: bool, last: bool) -> Kept:
    """A fusion layer for all texts of ``length`` tokens: self-attention, cross-attention, feed-forward.

    In the last layer only wanted tokens go on; all are looked at.
    """
    d, heads, count = shape.width, shape.num_heads, asked.rows * length
    if last:
        # Read by k and v: D; k v 2 D; then the wanted tokens, queries in rows of one size.
        onward, places = asked.wanted, asked.rows * asked.most
        kept = Kept(3 * d * count) + Kept(half=d, full=2) * onward
        kept += Kept(2 * d, heads) * places
        kept += Kept(half=d, full=2) * onward * (asked.most > 1)  # what they gather is packed again; where they stand
    else:
        onward = count
        kept = Kept(half=5 * d, full=heads) * count  # read by q, k, v: D; q k v 3 D; attended D
    kept += Kept(full=d + 2, mask_bytes=d * dropout) * onward  # into the norm
    if asked.contexts:
        kept += cross_attention(shape, asked, onward, dropout)
    # Into the feed-forward, GELU and norm.
    return kept + Kept(half=shape.mlp_width, full=2 * d + 2, mask_bytes=d * dropout) * onward


def cross_attention(shape: FusionShape, asked: Asked, tokens: int, dropout: bool) -> Kept:
    """The part of a fusion layer in which ``tokens`` read contexts: keys and values are projected once per context."""
    d = shape.width
    own = Kept(half=2 * d, full=d + 2 + 2, mask_bytes=d * dropout) * tokens  # read, gathered; where they stand
    places = Kept(half=2 * d + asked.tokens * asked.parts, full=shape.num_heads) * (tokens * asked.unevenly)
    sources = Kept(half=2 * d + shape.context_width) * (asked.contexts * asked.tokens)
    return own + places + sources


def embedded(shape: TextShape, length: int, dropout: bool) -> Kept:
    """Embeddings of one text: into the norm, and the dropout behind it."""
    return Kept(full=(shape.width + 2 + 3 * 2) * length, mask_bytes=shape.width * length * dropout)


def activations(shape: ModelShape, load: Load, checkpointing: bool = False, unevenly: float = 2.0) -> Kept:
    """What the forward pass of one stream keeps, all texts being as long as they may be.

    Args:
        shape: The model.
        load: The stream's batch.
        checkpointing: Keep only the inputs of every layer; see :func:`recomputed` for what comes on top.
        unevenly: How often the context that is read most is read, over the mean; above 2 groups are split.
    """
    vision, text = shape.vision, shape.text
    asked, total = _asked(shape, load, unevenly), Kept()
    for layer, depth, inputs in _layers(shape, load, asked):
        total += Kept(full=inputs * depth) if checkpointing else layer * depth
    if vision and load.frames:
        images, d, n = load.contexts * load.frames, vision.width, vision.tokens
        total += Kept(3 * vision.patch_size**2 * (n - 1) * images, (d + 2) * n * images)  # pixels; into the last norm
    if text and load.tokens:
        # What the encoder gives, of which features and the fusion encoder take parts.
        total += (embedded(text, load.tokens, shape.dropout) + Kept(text.width * load.tokens)) * _texts(load)
    if shape.fusion and asked.rows:
        total += Kept(full=2 * asked.rows * load.tokens)  # which text's token each one is
        if checkpointing:  # who sees what, a byte each, for the last layer and for the others
            seen = asked.contexts and asked.parts and asked.tokens * asked.unevenly
            total += Kept(mask_bytes=seen * (asked.rows * load.tokens + asked.wanted))
    if "mlm" in load.objectives and text:
        masked = load.pairs * load.masks
        width = shape.fusion.width if shape.fusion else text.width
        # Into the layer, GELU and norm; the gradients of what the scores are made from are made with the scores.
        total += Kept(3 * width * masked, (width + 2) * masked + (width + 1) * text.vocab_size)
    heads = load.pairs * sum({"itm": 3, "bbox": 1}.get(name, 0) for name in load.objectives)
    width = shape.fusion.width if shape.fusion else 0
    return total + Kept(half=5 * width, full=2 * width + 2) * heads  # into two linear layers, GELU and norm


def recomputed(shape: ModelShape, load: Load) -> Kept:
    """With checkpointing, what is there besides while the largest layer is computed again."""
    layers = [layer for layer, _, _ in _layers(shape, load, _asked(shape, load, unevenly=2.0))]
    return max(layers, key=lambda kept: kept.bytes("fp32"), default=Kept())


def _layers(shape: ModelShape, load: Load, asked: Asked) -> Iterator[tuple[Kept, int, float]]:
    """For each kind of layer what one keeps, the number of them, and numbers in a layer's input."""
    vision, text, fusion = shape.vision, shape.text, shape.fusion
    if vision and load.frames:
        images = load.contexts * load.frames
        yield vision_layer(vision, images), vision.depth, vision.tokens * vision.width * images
    if text and load.tokens:
        layer = text_layer(text.width, text.mlp_width, text.num_heads, load.tokens, shape.dropout)
        yield layer * _texts(load), text.depth, text.width * load.tokens * _texts(load)
    if fusion and asked.rows:
        inputs = fusion.width * load.tokens * asked.rows
        yield fusion_layer(fusion, asked, load.tokens, shape.dropout, last=False), fusion.depth - 1, inputs
        yield fusion_layer(fusion, asked, load.tokens, shape.dropout, last=True), 1, inputs


def _texts(load: Load) -> int:
    """Texts that the text encoder reads, as far as objectives do.

    Each, once more with its words masked, and sentences that play the context.
    """
    plain = any(name != "mlm" for name in load.objectives) or load.sentences
    return load.pairs * (plain + ("mlm" in load.objectives)) + load.contexts * load.sentences


def _asked(shape: ModelShape, load: Load, unevenly: float) -> Asked:
    """Matching reads three texts for each pair, masked words and boxes one; wanted are summaries, and masked words."""
    rows = {name: times * load.pairs for name, times in {"itm": 3, "mlm": 1, "bbox": 1}.items()}
    most = {name: load.masks if name == "mlm" else 1 for name in rows}
    used = [name for name in rows if name in load.objectives]
    tokens = load.tokens - 1 if load.sentences else shape.vision.tokens - 1 if shape.vision and load.frames else 0
    parts = "bbox" in load.objectives or load.pairs > load.contexts
    summaries = -(-load.pairs // load.contexts) * parts + ("bbox" in used or not parts) if load.contexts else 0
    return Asked(
        rows=sum(rows[name] for name in used),
        wanted=sum(rows[name] * most[name] for name in used),
        most=max((most[name] for name in used), default=0),
        contexts=load.contexts if tokens else 0,
        tokens=tokens + summaries,
        parts=parts or load.sentences,
        unevenly=unevenly,
    )
