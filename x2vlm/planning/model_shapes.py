"""Shapes of a model and of its batches as plain numbers, and the parameters that follow from them.

Nothing is built: this is arithmetic, for planning. The tests compare it with models that are built.
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
        """Patches and the class token."""
        return self.rows * self.columns + 1


@dataclass(frozen=True)
class TextShape:
    """BERT and its kin: embeddings and ``depth`` layers."""

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
    """A whole model; towers that are left out are None.

    Attributes:
        objectives: Names: ``itc, itm, mlm, bbox``.
        tied: Whether the masked-word head shares the words of the text encoder.
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
class Load:
    """A batch of one stream, in one process.

    Attributes:
        pairs: B.
        contexts: U distinct pictures, clips or sentences.
        frames: F of a clip; 1 for pictures; 0 where the context is a sentence or nothing.
        tokens: L of a text; of a sentence that plays the context, too.
        masks: M.
        objectives: Those that the stream trains.
        sentences: Whether contexts are sentences (parallel text).
        share: In how large a share of the steps the stream takes part.
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
    """Weights and biases of a linear layer."""
    return inputs * outputs + outputs


def vision_parameters(shape: VisionShape) -> int:
    """Patches, class token, blocks (attention without bias of keys, table of positions, two scales), last norm."""
    d = shape.width
    table = ((2 * shape.rows - 1) * (2 * shape.columns - 1) + 3) * shape.num_heads
    attention = 3 * d * d + 2 * d + table + linear(d, d)
    block = attention + linear(d, 4 * d) + linear(4 * d, d) + 2 * 2 * d + 2 * d
    return linear(3 * shape.patch_size**2, d) + d + shape.depth * block + 2 * d


def text_parameters(shape: TextShape) -> int:
    """Words, positions, types and their norm; layers."""
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
    """Parameters by part: ``vision_encoder``, ``text_encoder``, ``fusion_encoder``, ``projections``, ``objectives``."""
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
        words = shape.text.vocab_size
        heads["mlm"] = linear(width, width) + 2 * width + words + (0 if shape.tied else words * width)
    return {
        "vision_encoder": vision_parameters(shape.vision) if shape.vision else 0,
        "text_encoder": text_parameters(shape.text) if shape.text else 0,
        "fusion_encoder": fusion_parameters(shape.fusion) if shape.fusion else 0,
        "projections": projections + shape.num_frames * (vision_width or 0),
        "objectives": sum(heads.get(name, 0) for name in shape.objectives),
    }


def largest_unit(shape: ModelShape) -> int:
    """Parameters that FSDP gathers at once: those of a layer, or all that are in no layer, whichever are more."""
    layers = [in_layers // tower.depth for tower, in_layers in _towers(shape) if tower.depth]
    return max([*layers, sum(parameters(shape).values()) - layer_parameters(shape)])


def layer_parameters(shape: ModelShape) -> int:
    """Parameters in layers of towers, not in embeddings, norms behind the layers, projections and heads."""
    return sum(in_layers for _, in_layers in _towers(shape))


def _towers(shape: ModelShape) -> list[tuple[VisionShape | TextShape | FusionShape, int]]:
    """Towers that are there, with the parameters in their layers."""
    counts = [(shape.vision, vision_parameters), (shape.text, text_parameters), (shape.fusion, fusion_parameters)]
    return [(tower, count(tower) - count(replace(tower, depth=0))) for tower, count in counts if tower]
