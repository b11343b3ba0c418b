"""Load weights into a model: this library's or published ones, with a report on every tensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.kind_detection import guess_kind, is_published
from x2vlm.weights.load_report import LoadReport, matches, part_of
from x2vlm.weights.missing_parts import NEW_IN_DECODER, fill_caption_head, fill_decoder
from x2vlm.weights.published_names import UNUSED
from x2vlm.weights.published_state import from_published
from x2vlm.weights.read_weights import read_tensors
from x2vlm.weights.resize import fit, grids_of

# Whole parts of a model: one that the model does not have at all may be left out of what it loads.
_PARTS = (
    "vision_encoder",
    "text_encoder",
    "fusion_encoder",
    "vision_proj",
    "text_proj",
    "temperature",
    "frame_positions",
)
# Single parameters that a part has only for some objectives.
_OPTIONAL = ("vision_encoder.net.mask_token",)


@dataclass(frozen=True)
class Loading:
    """How weights are loaded into a model that is trained further.

    Patterns name parameters as this library does (``x2vlm parameters CONFIG --names`` lists them);
    ``objectives.classification`` matches everything in it.

    Attributes:
        allow_missing: Parameters that the file may lack; they stay as the model was made and count as new.
        allow_unexpected: Tensors of the file that may be unexpected.
        skip: Tensors of the file that are ignored although they would fit: ``text_encoder`` keeps the text encoder
            that the config names. What they would have filled may be missing.
        fresh: Parameters that count as new for the learning rate although the file fills them.
        kind: Published class of the file; detected from its names where not given.
        source_grid: Rows and columns of patches that the file's positions are for, where these are no square: a table
            does not tell 24 x 12 from 18 x 16.
    """

    allow_missing: Sequence[str] = ()
    allow_unexpected: Sequence[str] = ()
    skip: Sequence[str] = ()
    fresh: Sequence[str] = ()
    kind: str | None = None
    source_grid: tuple[int, int] | None = None


@dataclass
class Prepared:
    """Tensors to load, under the model's names and in its shapes, and the report on them."""

    tensors: dict[str, Tensor]
    report: LoadReport
    filled: set[str]

    def fresh_in(self, model: nn.Module) -> set[str]:
        """The parameters that count as new once these are loaded."""
        names = {name for name, _ in model.named_parameters()}
        before = model.fresh_parameters() if hasattr(model, "fresh_parameters") else names
        return (before - self.filled) | (names & set(self.report.fresh))


def load_into(
    model: nn.Module,
    source: str | Path | Mapping[str, Tensor],
    loading: Loading | None = None,
    complete: bool = False,
) -> LoadReport:
    """Load weights into a model: this library's or published ones, for this image size or another.

    Afterwards ``model.fresh_parameters()`` are those that the weights did not fill.

    Args:
        model: The model.
        source: A file or folder, or named tensors.
        loading: What may be missing, and so on.
        complete: Require every parameter: the model is used as it is, not trained.

    Returns:
        What was loaded and what was not.

    Raises:
        CheckpointError: If the file cannot be read or does not fit.
    """
    tensors = source if isinstance(source, Mapping) else read_tensors(source)
    name = "the given tensors" if isinstance(source, Mapping) else str(source)
    prepared = prepare(model, tensors, loading, name, complete)
    note_fresh(model, prepared)
    put(model, prepared.tensors)
    return prepared.report


def prepare(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    loading: Loading | None = None,
    source: str = "the given tensors",
    complete: bool = False,
) -> Prepared:
    """Convert, copy and resize tensors for a model, without changing it; arguments as in :func:`load_into`.

    Raises:
        CheckpointError: If they do not fit, or one is NaN or infinite.
    """
    loading = loading or Loading()
    report = LoadReport(source=source)
    state = dict(model.state_dict())
    renamed, origin = _under_our_names(tensors, loading.kind, report)
    report.left_out = [
        name for name in renamed if matches(name, loading.skip) or (name.startswith(UNUSED) and name not in state)
    ]
    renamed = {name: value for name, value in renamed.items() if name not in set(report.left_out)}
    copied = fill_caption_head(renamed, state)
    by_rule: tuple[str, ...] = ()
    if not complete and (decoder := fill_decoder(renamed, state)):
        copied |= decoder
        by_rule = NEW_IN_DECODER
    report.copied = {name: source_name for name, (source_name, _) in copied.items() if name in state}
    renamed |= {name: value for name, (_, value) in copied.items()}
    used = {source_name for source_name, _ in copied.values()}
    parts, grids = {part_of(name) for name in state}, grids_of(model)
    fitted: dict[str, Tensor] = {}
    partly: set[str] = set()
    for name, value in renamed.items():
        if name not in state:
            is_model_part = part_of(name) in _PARTS or name.startswith("objectives.")
            is_left_out = name in used or name in _OPTIONAL or (is_model_part and part_of(name) not in parts)
            (report.left_out if is_left_out else report.unexpected).append(name)
            continue
        result = fit(name, value, state[name], grids.get(name.partition(".")[0]), loading.source_grid)
        if result is None or (complete and not result.whole):
            report.misfits[name] = (tuple(value.shape), tuple(state[name].shape))
            continue
        fitted[name] = result.value
        if value.shape != state[name].shape:
            report.resized[name] = (tuple(value.shape), tuple(state[name].shape))
        if not result.whole:
            partly.add(name)
        if result.fresh or matches(name, loading.fresh):
            report.fresh.append(name)
    report.loaded = list(fitted)
    report.converted = {name: origin[name] for name in fitted if origin.get(name, name) != name}
    report.missing = [name for name in state if name not in fitted and name not in report.misfits]
    if not fitted and report.misfits:
        name, (given, wanted) = next(iter(report.misfits.items()))
        raise CheckpointError(
            f"{source} has no parameter of this config's model with its shape: it is of a model of another size. "
            f"{name} is {list(given)} there and {list(wanted)} here."
        )
    if not fitted:
        raise CheckpointError(
            f"{source} has no parameter of this config's model: it is of another model. It has "
            f"{', '.join(list(tensors)[:4])}, ...; the model has {', '.join(list(state)[:4])}, ..."
        )
    report.check(
        () if complete else (*loading.allow_missing, *loading.skip, *by_rule),
        loading.allow_unexpected,
    )
    _check_finite(fitted, source)
    return Prepared(fitted, report, set(fitted) - partly - set(report.fresh))


def _check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(
                f"{source}: weight {name} is not finite: the training that wrote it failed, or the file is damaged. "
                "Use an earlier checkpoint."
            )


def note_fresh(model: nn.Module, prepared: Prepared) -> None:
    """Set which parameters of a model count as new once these weights are loaded."""
    if hasattr(model, "set_fresh_parameters"):
        model.set_fresh_parameters(prepared.fresh_in(model))


@torch.no_grad()
def put(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors of the right names and shapes into a model; other parameters stay as they are."""
    model.load_state_dict({**model.state_dict(), **tensors})


def _under_our_names(
    tensors: Mapping[str, Tensor], kind: str | None, report: LoadReport
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors under our names, and the name of each in the file."""
    if not is_published(tensors) or (kind is None and guess_kind(tensors) is None):
        return dict(tensors), {}
    report.kind = kind or guess_kind(tensors)
    ours = from_published(tensors, kind=report.kind)
    theirs = {id(value): name for name, value in reversed(list(tensors.items()))}
    return ours, {name: theirs[id(value)] for name, value in ours.items()}
