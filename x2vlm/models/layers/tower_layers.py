"""The blocks (layers) of a tower."""

from collections.abc import Mapping

from torch import nn

from x2vlm.building import ConfigError

_NO_RECOMPUTING = "has no set_activation_checkpointing(on). Add it, or leave model.activation_checkpointing out."


def layers_of(module: nn.Module) -> list[nn.Module]:
    """Members of the innermost ``ModuleList`` and ``Sequential`` of one class that have submodules."""
    inner = [layer for child in module.children() for layer in layers_of(child)]
    if inner or not isinstance(module, nn.ModuleList | nn.Sequential):
        return inner
    alike = len({type(layer) for layer in module}) == 1
    return list(module) if alike and all(list(layer.children()) for layer in module) else []


def recompute_activations(towers: Mapping[str, nn.Module]) -> None:
    """Let all towers recompute their activations in the backward pass.

    Raises:
        ConfigError: If one cannot.
    """
    for name, tower in towers.items():
        if not hasattr(tower, "set_activation_checkpointing"):
            raise ConfigError(f"{type(tower).__name__} {_NO_RECOMPUTING}", f"model.{name}")
        tower.set_activation_checkpointing(True)
