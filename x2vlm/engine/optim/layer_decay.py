"""Layer-wise decay of the learning rate: the lower a layer of a tower, the less it learns."""

from torch import nn

from x2vlm.models.layers.tower_layers import layers_of


def layer_numbers(tower: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of each parameter of a tower, as BEiT counts them (arXiv:2106.08254, its code for fine-tuning).

    Returns:
        By name: 0 of what the tower registers before its layers (embeddings, positions), 1 of the lowest layer and
        what follows it, ..., and one more than the highest of what follows all (norms, poolers); and that last number.

    Raises:
        ValueError: If the tower has no layers.
    """
    layers = layers_of(tower)
    if not layers:
        raise ValueError(f"{type(tower).__name__} has no layers to tell apart: leave its layer decay out.")
    names = {module: name for name, module in tower.named_modules()}
    prefixes = {f"{names[layer]}.": number for number, layer in enumerate(layers, start=1)}
    parameters = [name for name, _ in tower.named_parameters()]
    inside = [
        next((number for prefix, number in prefixes.items() if name.startswith(prefix)), None) for name in parameters
    ]
    highest, last = max(i for i, number in enumerate(inside) if number is not None), len(layers) + 1
    numbers, below = {}, 0
    for i, (name, number) in enumerate(zip(parameters, inside, strict=True)):
        below = below if number is None else number
        numbers[name] = last if i > highest else below
    return numbers, last


def layer_factors(tower: nn.Module, prefix: str, decay: float) -> dict[str, tuple[str, float]]:
    """For each parameter of a tower its layer, as ``"3"``, and the factor of its learning rate.

    Args:
        tower: A tower.
        prefix: Put in front of its parameters' names.
        decay: Factor from each layer to the one below; above the highest layer the factor is 1.

    Raises:
        ValueError: If the decay is not in 0..1 (0 excluded), or the tower has no layers.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"a layer decay is {decay}; expected more than 0 and at most 1.")
    numbers, last = layer_numbers(tower)
    return {f"{prefix}{name}": (str(number), decay ** (last - number)) for name, number in numbers.items()}
