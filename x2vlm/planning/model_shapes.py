"""Shapes of models and batches, and parameter counts by formula; nothing is built.

The tests compare the formulas with models that are built.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class VisionShape:
    """BEiT-2: ``depth`` blocks over ``rows * columns`` patches and a class token."""

    width: int
    depth: int
    num_heads: int
    rows: int
    columns: int
    patch_size: int = 16

    @property
    def tokens(self) -> int:
        """Number of patches and the class token."""
        return self.rows * self.columns + 1


@dataclass(frozen=True)
class TextShape:
    """BERT-like text encoders: embeddings and ``depth`` layers."""

    width: int
    depth: int
    num_heads: int
    mlp_width: int
    vocab_size: int
    positions: int
    types: int


@dataclass(frozen=True)
class FusionShape:
    """Layers with cross-attention to contexts of width ``context_width``."""

    width: int
    context_width: int
    depth: int
    num_heads: int
    mlp_width: int


@dataclass(frozen=True)
class ModelShape:
    """A model; towers that it does not have are None.

    Attributes:
        objectives: Names: ``itc, itm, mlm, bbox``.
        tied: Whether the MLM head shares the word embeddings of the text encoder.
        dropout: Probability above 0 in text and fusion layers.
    """

    vision: VisionShape | None
    text: TextShape | None
    fusion: FusionShape | None
    embed_dim: int | None = 256
    num_frames: int = 0
    objectives: tuple[str, ...] = ("itc", "itm", "mlm", "bbox")
    tied: bool = True
    dropout: bool = True


@dataclass(frozen=True)
class BatchShape:
    """A batch of one stream, in one process.

    Attributes:
        pairs: B.
        contexts: U distinct images, videos or sentences.
        frames: F of a video; 1 for images; 0 where the context is a sentence or nothing.
        tokens: L of a text; of a sentence as context, too.
        masks: M masked tokens of a text.
        objectives: Objectives of the stream.
        sentences: Whether contexts are sentences (parallel text).
        share: Fraction of the steps in which the stream takes part.
    """

    pairs: int
    contexts: int
    frames: int
    tokens: int
    masks: int
    objectives: tuple[str, ...]
    sentences: bool = False
    share: float = 1.0


def linear(inputs: int, outputs: int) -> int:
    """Parameters of a linear layer: weights and biases."""
    return inputs * outputs + outputs


def vision_parameters(shape: VisionShape) -> int:
    """Patch embedding, class token, blocks (attention without key bias, position table, layer scales), last norm."""
    d = shape.width
    table = ((2 * shape.rows - 1) * (2 * shape.columns - 1) + 3) * shape.num_heads
    attention = 3 * d * d + 2 * d + table + linear(d, d)
    block = attention + linear(d, 4 * d) + linear(4 * d, d) + 2 * 2 * d + 2 * d
    return linear(3 * shape.patch_size**2, d) + d + shape.depth * block + 2 * d


def text_parameters(shape: TextShape) -> int:
    """Embeddings of words, positions and types with their norm; layers."""
    d = shape.width
    embeddings = (shape.vocab_size + shape.positions + shape.types) * d + 2 * d
    layer = 4 * linear(d, d) + 2 * d + linear(d, shape.mlp_width) + linear(shape.mlp_width, d) + 2 * d
    return embeddings + shape.depth * layer


def fusion_parameters(shape: FusionShape) -> int:
    """Layers of self-attention, cross-attention and feed-forward, each with its norm."""
    d, c = shape.width, shape.context_width
    self_attention = 4 * linear(d, d) + 2 * d
    cross_attention = 2 * linear(d, d) + 2 * linear(c, d) + 2 * d
    feed_forward = linear(d, shape.mlp_width) + linear(shape.mlp_width, d) + 2 * d
    return shape.depth * (self_attention + cross_attention + feed_forward)


def parameters(shape: ModelShape) -> dict[str, int]:
    """Parameters of ``vision_encoder``, ``text_encoder``, ``fusion_encoder``, ``projections`` and ``objectives``."""
    vision_width = shape.vision.width if shape.vision else None
    text_width = shape.text.width if shape.text else None
    width = shape.fusion.width if shape.fusion else text_width or vision_width
    projections = 0
    if shape.embed_dim:
        projections = 1 + sum(linear(w, shape.embed_dim) for w in (vision_width, text_width) if w)
    heads = {
        "itm": linear(width, 2 * width) + 2 * 2 * width + linear(2 * width, 2),
        "bbox": linear(width, 2 * width) + 2 * 2 * width + linear(2 * width, 4),
    }
    if shape.text:
        vocab = shape.text.vocab_size
        heads["mlm"] = linear(width, width) + 2 * width + vocab + (0 if shape.tied else vocab * width)
    return {
        "vision_encoder": vision_parameters(shape.vision) if shape.vision else 0,
        "text_encoder": text_parameters(shape.text) if shape.text else 0,
        "fusion_encoder": fusion_parameters(shape.fusion) if shape.fusion else 0,
        "projections": projections + shape.num_frames * (vision_width or 0),
        "objectives": sum(heads.get(name, 0) for name in shape.objectives),
    }


def largest_unit(shape: ModelShape) -> int:
    """Parameters of the largest FSDP unit: a layer, or everything outside of layers."""
    layers = [in_layers // tower.depth for tower, in_layers in _towers(shape) if tower.depth]
    return max([*layers, sum(parameters(shape).values()) - layer_parameters(shape)])


def layer_parameters(shape: ModelShape) -> int:
    """Parameters in layers of towers; without embeddings, last norms, projections and heads."""
    return sum(in_layers for _, in_layers in _towers(shape))


def _towers(shape: ModelShape) -> list[tuple[VisionShape | TextShape | FusionShape, int]]:
    """The towers that a model has, each with the parameters in its layers."""
    counts = [(shape.vision, vision_parameters), (shape.text, text_parameters), (shape.fusion, fusion_parameters)]
    return [(tower, count(tower) - count(replace(tower, depth=0))) for tower, count in counts if tower]
