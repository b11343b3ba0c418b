"""Pre-trained weights of towers (BERT, RoBERTa, XLM-R; BEiT-2, CLIP, Swin) under the names of this library.

Names are those of this library's towers: ``net.embeddings...`` of a text encoder, ``layer.0...`` of a fusion encoder.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.load_report import abbreviated, matches
from x2vlm.weights.published_names import BERT_NAMES
from x2vlm.weights.read_weights import read_tensors
from x2vlm.weights.resize import fit
from x2vlm.weights.vision_names import our_vision_name, vision_encoder_kind

_BERT_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)$")
_TENSORFLOW = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
_WORD_HEAD = re.compile(
    r"(?:cls\.predictions|lm_head)\.(?:transform\.)?((?:dense|LayerNorm|layer_norm|decoder)\..+|bias)$"
)
_WORD_HEAD_PARTS = ("dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias", "bias", "decoder.weight")
_SHARED_TABLE = "rel_pos_bias.relative_position_bias_table"
_TABLE = "attn.relative_position_bias_table"
# Of vision towers: heads, derived indices, the text half of CLIP.
_NOT_TAKEN = (
    *(
        "head",
        "lm_head",
        "head_dist",
        "classifier",
        "text_model",
        "text_projection",
        "visual_projection",
        "logit_scale",
    ),
    *("*relative_position_index", "*position_ids", "*attn_mask", "relative_coords_table"),
)
_OPTIONAL = ("net.mask_token", "mask_token")


def read_bert(path: str) -> dict[str, Tensor]:
    """The tensors of a BERT, RoBERTa or XLM-R under the names of transformers' bare model, without heads.

    Args:
        path: A folder with weights, a weights file, or a name on the hub (its weights are fetched, or taken from the
            local cache).

    Raises:
        CheckpointError: If there is none, or it cannot be read.
    """
    return bert_tensors(_read(path))


def read_word_head(path: str) -> dict[str, Tensor]:
    """The masked-word head of a BERT, RoBERTa or XLM-R, under the names of objective ``mlm``.

    Args:
        path: As for :func:`read_bert`.

    Returns:
        ``dense.*``, ``LayerNorm.*``, ``bias``, and ``decoder.weight`` (the word embeddings where it is tied to them);
        empty where the weights have no such head, as those of sentence encoders.

    Raises:
        CheckpointError: As :func:`read_bert`.
    """
    return word_head_tensors(_read(path))


def word_head_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The word head in the weights of a BERT, RoBERTa or XLM-R; see :func:`read_word_head`."""
    head: dict[str, Tensor] = {}
    words = None
    for name, value in state.items():
        for old, new in _TENSORFLOW:
            name = name.replace(old, new)
        if name.endswith("embeddings.word_embeddings.weight"):
            words = value
        if part := _WORD_HEAD.match(name):
            head[part[1].replace("layer_norm.", "LayerNorm.")] = value
    head.setdefault("bias", head.pop("decoder.bias", None))
    head.setdefault("decoder.weight", words)
    complete = all(head.get(name) is not None for name in _WORD_HEAD_PARTS)
    return {name: head[name] for name in _WORD_HEAD_PARTS} if complete else {}


def _read(path: str) -> dict[str, Tensor]:
    if Path(path).expanduser().exists():
        return read_tensors(path)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    for file in ("model.safetensors", "pytorch_model.bin"):
        try:
            return read_tensors(hf_hub_download(path, file))
        except (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError) as error:
            if isinstance(error, CheckpointError):
                raise
            reason = error
    raise CheckpointError(
        f"no weights can be read from {path!r}: it is neither a folder or file with weights nor a name that the hub or "
        f"the local cache knows ({type(reason).__name__})."
    )


def bert_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder without poolers and heads, under the names of transformers' bare model.

    Names lose ``bert.`` or ``roberta.``; TensorFlow's ``gamma`` and ``beta`` become ``weight`` and ``bias``.

    Raises:
        CheckpointError: If there is no BERT-like encoder in it.
    """
    clean: dict[str, Tensor] = {}
    for name, value in state.items():
        name = re.sub(r"^(?:bert|roberta|xlm_roberta|model|text_encoder\.net)\.", "", name)
        for old, new in _TENSORFLOW:
            name = name.replace(old, new)
        if name.startswith(("embeddings.", "encoder.")) and not name.endswith("position_ids"):
            clean[name] = value
    if not any(map(_BERT_LAYER.match, clean)):
        raise CheckpointError(f"the weights are of no BERT-like encoder: {', '.join(list(state)[:4])}, ...")
    return clean


def choose_layers(tensors: Mapping[str, Tensor], layers: Sequence[int]) -> dict[str, Tensor]:
    """Tensors of a BERT with these layers only, in this order.

    ``range(1, 24, 2)`` makes 12 of the 24 layers of BERT-large, as published.

    Raises:
        CheckpointError: If there are fewer layers.
    """
    depth = bert_depth(tensors)
    if beyond := [layer for layer in layers if not 0 <= layer < depth]:
        raise CheckpointError(f"layers {beyond} are not among the {depth} (0 to {depth - 1}) of these weights.")
    new_number = {layer: number for number, layer in enumerate(layers)}
    chosen: dict[str, Tensor] = {}
    for name, value in tensors.items():
        layer = _BERT_LAYER.match(name)
        if layer is None:
            chosen[name] = value
        elif int(layer[1]) in new_number:
            chosen[f"encoder.layer.{new_number[int(layer[1])]}.{layer[2]}"] = value
    return chosen


def bert_depth(tensors: Iterable[str]) -> int:
    """Number of layers."""
    return 1 + max((int(match[1]) for match in map(_BERT_LAYER.match, tensors) if match), default=-1)


def fusion_tensors(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The upper ``depth`` layers of a BERT as fusion layers, without cross-attention: ``layer.0.attention.query...``.

    Raises:
        CheckpointError: If there are fewer layers.
    """
    depth_of_bert = bert_depth(tensors)
    if depth_of_bert < depth:
        raise CheckpointError(
            f"these weights have {depth_of_bert} layers, fewer than the {depth} of the fusion encoder."
        )
    our_names = {theirs: ours for ours, theirs in BERT_NAMES.items()}
    renamed: dict[str, Tensor] = {}
    for name, value in choose_layers(tensors, range(depth_of_bert - depth, depth_of_bert)).items():
        if layer := _BERT_LAYER.match(name):
            part, _, kind = layer[2].rpartition(".")
            if part in our_names:
                renamed[f"layer.{layer[1]}.{our_names[part]}.{kind}"] = value
    return renamed


def vision_tensors(state: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """A BEiT-2, CLIP or Swin, or the vision encoder of a published model, under the names of this library's encoders.

    Classification heads are left out. A table of relative positions that all blocks share is copied into each.

    Args:
        state: Published names, those of transformers' CLIP, or timm's.
        depth: Blocks that a shared table is copied into.
    """
    tensors = {
        name.removeprefix("vision_encoder."): v for name, v in state.items() if name.startswith("vision_encoder.")
    }
    tensors = {name.removeprefix("vision_model."): value for name, value in (tensors or state).items()}
    tensors = {name: value for name, value in tensors.items() if not matches(name, _NOT_TAKEN)}
    tower = vision_encoder_kind(tensors)
    if tower == "beit2":
        if _SHARED_TABLE in tensors:
            shared = tensors.pop(_SHARED_TABLE)
            tensors |= {f"blocks.{number}.{_TABLE}": shared.clone() for number in range(depth)}
        if any(name.startswith("fc_norm.") for name in tensors):  # `norm` is then of another training, and not read
            tensors = {name: value for name, value in tensors.items() if not name.startswith("norm.")}
    from_timm = tower == "swin" and not any(name.startswith("layers.0.downsample.") for name in tensors)
    return {f"net.{name}" if from_timm else our_vision_name(name): value for name, value in tensors.items()}


@torch.no_grad()
def fill(tower: nn.Module, tensors: Mapping[str, Tensor], source: str, grid: tuple[int, int] | None = None) -> set[str]:
    """Load tensors into a tower; tables of positions are resized to its grid.

    Args:
        tower: The module.
        tensors: Under its names.
        source: Name of the weights in error messages.
        grid: Rows and columns of its patches.

    Returns:
        Names of the parameters that were filled.

    Raises:
        CheckpointError: If a parameter of the tower is missing, a tensor is unexpected, or sizes differ.
    """
    state = dict(tower.state_dict())
    missing = [name for name in state if name not in tensors and name not in _OPTIONAL]
    unexpected = [name for name in tensors if name not in state and name not in _OPTIONAL]
    fitted = {name: fit(name, value, state[name], grid) for name, value in tensors.items() if name in state}
    sizes = [
        f"{name} is {tuple(tensors[name].shape)} there and {tuple(state[name].shape)} here"
        for name, result in fitted.items()
        if result is None
    ]
    groups = (("missing", missing), ("without a place", unexpected), ("of another size", sizes))
    if problems := [f"{title}: {abbreviated(names, shown=5)}" for title, names in groups if names]:
        raise CheckpointError(f"{source} does not fit {type(tower).__name__}: {'; '.join(problems)}.")
    tower.load_state_dict({**state, **{name: result.value for name, result in fitted.items()}})
    return {name for name, _ in tower.named_parameters()} & set(fitted)
