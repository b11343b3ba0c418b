"""Parts of a model that are not trained: linear probes, or a tower whose weights must stay as they came."""

from collections.abc import Sequence

from torch import nn

from x2vlm.building import ConfigError, suggestion


def freeze(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Take the gradient from parts of a model; they get no update, no decay and no place in the optimizer.

    Args:
        model: The model.
        names: Modules or parameters by their names: ``vision_encoder``, ``objectives.itc``, ``temperature``.

    Returns:
        The modules among them, which are to stay in evaluation mode: no dropout, no stochastic depth.

    Raises:
        ConfigError: If there is no such part, or nothing is left to train.
    """
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for name in names:
        if name not in modules and name not in parameters:
            known = [key for key in (*modules, *parameters) if key and key.count(".") <= name.count(".")]
            raise ConfigError(f"'{name}' is no part of the model.{suggestion(name, known)}", "model.frozen")
        for parameter in modules[name].parameters() if name in modules else [parameters[name]]:
            parameter.requires_grad_(False)
    if names and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(f"{', '.join(names)} are all of the model: nothing is left to train.", "model.frozen")
    return [modules[name] for name in names if name in modules]
