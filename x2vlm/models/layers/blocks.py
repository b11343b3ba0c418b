"""Which modules of a tower are its blocks."""

from torch import nn


def layers_of(module: nn.Module) -> list[nn.Module]:
    """The innermost ``ModuleList`` and ``Sequential`` members of one class, if these have parts of their own."""
    inner = [layer for child in module.children() for layer in layers_of(child)]
    if inner or not isinstance(module, nn.ModuleList | nn.Sequential):
        return inner
    alike = len({type(layer) for layer in module}) == 1
    return list(module) if alike and all(list(layer.children()) for layer in module) else []
