"""Graphs of a model by torch.export, with sizes that may vary: images, texts and their length."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export

from x2vlm.building import ConfigError
from x2vlm.export.graphs import graphs_of
from x2vlm.models.pretrained.portable_config import model_config
from x2vlm.registry import MODELS

MAX_IMAGES, MAX_TEXTS = 4096, 65536


def programs_of(model: Any) -> dict[str, ExportedProgram]:
    """Every graph that the model has parts for, traced; see :func:`~x2vlm.export.graphs.graphs_of`.

    Args:
        model: A model that was built from configs, or read from a folder.

    Raises:
        ConfigError: If it has no graph, or a part of it cannot be traced (a plugin that reads sizes back, for example).
    """
    graphs = graphs_of(traceable(model))
    if not graphs:
        raise ConfigError("the model has neither a vision encoder nor a text encoder: there is nothing to export.")
    inputs, sizes = example_inputs(graphs, model), dynamic_shapes(model)
    programs = {}
    for name, graph in graphs.items():
        try:
            programs[name] = export(graph.eval(), inputs[name], dynamic_shapes=sizes[name])
        except Exception as error:  # torch.export raises many types, by what it meets
            raise ConfigError(
                f"graph '{name}' cannot be traced by torch.export: {str(error).splitlines()[0]:.300} "
                "Sizes of tensors must not be turned into Python numbers (write x.shape[0], not len(x))."
            ) from error
    return programs


def traceable(model: Any) -> nn.Module:
    """A copy on the CPU, in fp32, whose attention is written out: fused kernels and packing cannot be traced."""
    config = model_config(model)
    config["attention"] = "eager"
    config["activation_checkpointing"] = False
    for part in ("vision_encoder", "text_encoder", "fusion_encoder"):
        if isinstance(config.get(part), dict):
            config[part].pop("attention", None)
    if isinstance(config.get("text_encoder"), dict) and hasattr(model.text_encoder, "net"):
        config["text_encoder"]["attention"] = "native"  # transformers' own, which does not pack texts
    copy = MODELS.get(config.pop("type"))(**config, tokenizer=getattr(model, "tokenizer", None))
    copy.load_state_dict({name: value.detach().cpu().float() for name, value in model.state_dict().items()})
    return copy.eval().requires_grad_(False)


@torch.no_grad()
def example_inputs(graphs: Mapping[str, nn.Module], model: Any) -> dict[str, tuple[torch.Tensor, ...]]:
    """Small inputs for every graph; those of later graphs are what earlier ones give."""
    inputs: dict[str, tuple[torch.Tensor, ...]] = {}
    if "image" in graphs:
        inputs["image"] = (torch.zeros(3, 3, *model.vision_encoder.image_size),)
    if "text" in graphs:
        ids = torch.ones(2, 5, dtype=torch.long)
        mask = torch.ones(2, 5, dtype=torch.bool)
        mask[1, 3:] = False
        inputs["text"] = (ids, mask)
    if "context" in graphs:
        tokens = graphs["image"](*inputs["image"])[0]
        inputs["context"] = (tokens[0],)
        states = graphs["text"](*inputs["text"])[0]
        read = (states, inputs["text"][1], *graphs["context"](tokens[0]))
        inputs |= {name: read for name in ("matching", "boxes")}
    return inputs


def dynamic_shapes(model: Any) -> dict[str, tuple[Any, ...]]:
    """Which sizes of each graph's inputs may vary, and up to what."""
    images, texts = Dim("images", min=1, max=MAX_IMAGES), Dim("texts", min=1, max=MAX_TEXTS)
    length = Dim("length", min=2, max=longest_text(model))
    of_texts = {0: texts, 1: length}
    return {
        "image": ({0: images},),
        "text": (of_texts, of_texts),
        "context": (None,),
        "matching": (of_texts, of_texts, None, None),
        "boxes": (of_texts, of_texts, None, None),
    }


def longest_text(model: Any) -> int:
    """Most tokens that the text encoder has positions for."""
    settings = getattr(getattr(model.text_encoder, "net", None), "config", None)
    positions = getattr(settings, "max_position_embeddings", None) or 512
    return positions - getattr(model.text_encoder, "first_position", 0)
