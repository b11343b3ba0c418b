"""Parameter groups by parameter name, as in the published recipes: learning rate, and weight decay or none."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW

from x2vlm.building import ConfigError, argument_problems, build
from x2vlm.distributed import is_sharded
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.engine.optim.layer_decay import layer_factors
from x2vlm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

# A name that *contains* one of these is not decayed. So `relative_position_bias_table`, `q_bias` and `fc_norm.weight`
# are not, while `gamma_1`, `cls_token`, `temperature`, frame positions, and a head's norm (`head.1.weight`) are.
PUBLISHED_NO_DECAY = (
    "bias",
    "LayerNorm.weight",
    "norm.weight",
    "norm1.weight",
    "norm2.weight",
)

_TOWER_PREFIXES = {
    "vision_encoder.": "vision",
    "text_encoder.": "text",
    "fusion_encoder.": "cross",
    "objectives.mlm.": "text",
    "objectives.caption.": "text",
}

LAYER_DECAYS = {"vision_encoder": "vision_layer_decay", "text_encoder": "text_layer_decay"}


def decays_by_name(name: str) -> bool:
    """Whether the published recipes apply weight decay to the parameter of this name."""
    return not any(part in name for part in PUBLISHED_NO_DECAY)


def tower_of_parameter(name: str) -> str | None:
    """``vision``, ``text`` or ``cross``; None for what belongs to no tower (projections, heads, temperature).

    The word heads of masked words and of captions belong to the text encoder, as published.
    """
    return next((tower for prefix, tower in _TOWER_PREFIXES.items() if name.startswith(prefix)), None)


def learning_rates(
    lr: float,
    lr_mult: float = 1.0,
    vision_lr: float | None = None,
    text_lr: float | None = None,
    cross_lr: float | None = None,
) -> dict[str, float]:
    """Learning rate of each kind of parameter: ``base``, ``fresh``, and each tower with a rate of its own.

    Args:
        lr: Of every other parameter.
        lr_mult: Factor for newly initialised parameters (``fresh``), except in towers with a rate of their own.
        vision_lr: For the vision encoder; needs ``text_lr``.
        text_lr: For the text encoder; needs ``vision_lr``.
        cross_lr: For the fusion encoder; ``text_lr`` if not given.

    Raises:
        ValueError: If only some of the towers' rates are given.
    """
    rates = {"base": lr, "fresh": lr * lr_mult}
    if vision_lr is None and text_lr is None and cross_lr is None:
        return rates
    if vision_lr is None or text_lr is None:
        raise ValueError("vision_lr and text_lr belong together (cross_lr may follow): give both or none.")
    return rates | {"vision": vision_lr, "text": text_lr, "cross": text_lr if cross_lr is None else cross_lr}


def group_names(
    names: Iterable[str],
    fresh: set[str],
    rates: Mapping[str, float],
    layers: Mapping[str, tuple[str, float]] | None = None,
) -> dict[str, list[str]]:
    """Parameter names by group: ``base/decay``, ``base/no_decay``, ..., ``cross/no_decay``; without empty groups.

    Args:
        names: Names of the trained parameters.
        fresh: Names of those that no checkpoint filled.
        rates: Result of :func:`learning_rates`.
        layers: Layer and factor of those whose rate decays by layers, which have groups of their own:
            ``base/decay/vision_encoder_3``.
    """
    layers = layers or {}
    groups: dict[str, list[str]] = {}
    for name in names:
        tower = tower_of_parameter(name)
        kind = tower if tower in rates else "fresh" if name in fresh and rates["fresh"] != rates["base"] else "base"
        group = f"{kind}/{'decay' if decays_by_name(name) else 'no_decay'}"
        if name in layers:
            group += f"/{name.partition('.')[0]}_{layers[name][0]}"
        groups.setdefault(group, []).append(name)
    return groups


def fused_option(optimizer_cfg: Mapping[str, Any], devices: set[str], sharded: bool) -> dict[str, bool]:
    """``fused=True`` for torch's Adam and AdamW where all parameters are on GPUs, unless the config chooses a kernel.

    The fused kernel can also skip a bad update on the device, without being waited for.

    Args:
        optimizer_cfg: ``type`` and the optimizer's other arguments.
        devices: Types of the devices that hold parameters.
        sharded: Whether parameters are sharded over processes; then torch's default stays.
    """
    kind = optimizer_cfg["type"]
    kind = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    chosen = {"fused", "foreach", "differentiable", "capturable"} & set(optimizer_cfg)
    return {"fused": True} if kind in (Adam, AdamW) and devices == {"cuda"} and not sharded and not chosen else {}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class X2VLMOptimConstructor:
    """Build the optimizer with the published groups: {decay, no decay} x {base, fresh, vision, text, cross}.

    Args:
        optim_wrapper_cfg: ``dict(type=..., optimizer=dict(type=..., lr=..., weight_decay=...), ...)``.
        paramwise_cfg: ``lr_mult``, ``vision_lr``, ``text_lr``, ``cross_lr``, as in :func:`learning_rates`;
            ``vision_layer_decay`` and ``text_layer_decay``, factors of the learning rate from each layer of that tower
            to the one below (:mod:`x2vlm.engine.optim.layer_decay`).
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.wrapper_cfg.pop("optimizer"))
        self.paramwise = dict(paramwise_cfg or {})
        decays = {tower: self.paramwise.pop(option, None) for tower, option in LAYER_DECAYS.items()}
        self.layer_decays = {tower: decay for tower, decay in decays.items() if decay is not None}
        if "lr" not in self.optimizer_cfg:
            raise ConfigError("the optimizer needs a learning rate: lr=...", "optim_wrapper.optimizer")
        if "lr" in self.paramwise or (problems := _paramwise_problems(self.paramwise)):
            problems = problems if "lr" not in self.paramwise else ["'lr' belongs into optim_wrapper.optimizer."]
            raise ConfigError(" ".join(problems), "optim_wrapper.paramwise_cfg")

    def __call__(self, model: nn.Module) -> Any:
        """The optimizer wrapper of a model; ``model.fresh_parameters()``, if there, names the new parameters."""
        groups = self.groups(unwrap_model(model))
        parameters = [parameter for group in groups for parameter in group["params"]]
        devices, sharded = {parameter.device.type for parameter in parameters}, any(map(is_sharded, parameters))
        options = self.optimizer_cfg | fused_option(self.optimizer_cfg, devices, sharded)
        optimizer = build(OPTIMIZERS, options, "optim_wrapper.optimizer", params=groups)
        wrapper_cfg = {"type": "MixedOptimWrapper"} | self.wrapper_cfg
        return build(OPTIM_WRAPPERS, wrapper_cfg, "optim_wrapper", optimizer=optimizer)

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Parameter groups for torch's optimizers, each with its ``name``."""
        try:
            rates = learning_rates(self.optimizer_cfg["lr"], **self.paramwise)
            layers = self._layers(model)
        except ValueError as error:
            raise ConfigError(str(error), "optim_wrapper.paramwise_cfg") from error
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        fresh = model.fresh_parameters() if hasattr(model, "fresh_parameters") else set()
        groups = []
        for name, members in group_names(trained, fresh, rates, layers).items():
            kind, decay, *_ = name.split("/")
            factor = layers[members[0]][1] if members[0] in layers else 1.0
            group = {"name": name, "params": [trained[member] for member in members], "lr": rates[kind] * factor}
            groups.append(group | ({"weight_decay": 0.0} if decay == "no_decay" else {}))
        return groups

    def _layers(self, model: nn.Module) -> dict[str, tuple[str, float]]:
        """Layer and factor of each parameter whose learning rate decays by layers."""
        factors: dict[str, tuple[str, float]] = {}
        for name, decay in self.layer_decays.items():
            tower = getattr(model, name, None)
            if tower is None:
                raise ValueError(f"{LAYER_DECAYS[name]} is given, but the model has no {name}.")
            factors |= layer_factors(tower, f"{name}.", decay)
        return factors


def _paramwise_problems(given: Mapping[str, Any]) -> list[str]:
    return argument_problems(learning_rates, given, derived=("lr",), extra=LAYER_DECAYS.values())
