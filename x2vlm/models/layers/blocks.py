"""The blocks (layers) of a tower."""

from torch import nn


def layers_of(module: nn.Module) -> list[nn.Module]:
    """Members of the innermost ``ModuleList`` and ``Sequential`` of one class that have submodules."""
    inner = [layer for child in module.children() for layer in layers_of(child)]
    if inner or not isinstance(module, nn.ModuleList | nn.Sequential):
        return inner
    alike = len({type(layer) for layer in module}) == 1
    return list(module) if alike and all(list(layer.children()) for layer in module) else []
