"""The base class of dataset adapters: a look-up from an index to a record, and a pipeline of transforms."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from x2vlm.building import build
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.record import Record, RecordError
from x2vlm.data.record_contract import record_problem, snapshot, step_name, step_problem
from x2vlm.part_errors import ConfigError, PartError, is_foreign, naming_the_part
from x2vlm.registry import TRANSFORMS


class Adapter(Dataset, ABC):
    """A data set in some annotation format: index -> record (a dict) -> transforms.

    An adapter holds no open file, so it can be sent to worker processes, forked or spawned.

    Args:
        pipeline: Transforms, in order: dicts for the TRANSFORMS registry, or callables from record to record. The last
            one makes a :class:`~x2vlm.data.batch.Sample`. Empty: records come out as they are.
        limits: Size limits of a record, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    metainfo: dict = {}  # noqa: RUF012  (MMEngine reads it)
    paths: tuple[str, ...] = ()
    """Arguments that are paths, or lists or dicts of paths: a config's ``data_root`` is put in front of them."""
    paths_or_names: tuple[str, ...] = ()
    """Arguments that are the path of a file with names if they are one string, and the names if they are a list."""

    limits = RecordLimits.of(None)  # of adapters that do not call __init__

    def __init__(self, pipeline: Sequence[dict | Callable] = (), limits: dict | RecordLimits | None = None) -> None:
        self.limits = RecordLimits.of(limits)
        self.pipeline = [build(TRANSFORMS, step, path=f"pipeline[{i}]") for i, step in enumerate(pipeline)]
        for number, step in enumerate(self.pipeline):
            if not callable(step):
                raise ConfigError(
                    f"{step_name(step)} is no transform: it has no __call__(record).", f"pipeline[{number}]"
                )

    @abstractmethod
    def __len__(self) -> int:
        """Number of records."""

    @abstractmethod
    def record(self, index: int) -> Record:
        """The record at ``index``: look-up and parsing only, without randomness.

        Raises:
            RecordError: If this record cannot be used.
        """

    def __getitem__(self, index: int) -> Any:
        """The record at ``index`` after all transforms.

        Raises:
            RecordError: If the record, or a file it names, cannot be used; ``where`` says which.
            IndexError: If there is no such record.
            PartError: If a plugin's adapter or transform breaks its contract, or raises anything else.
        """
        self._check(index)
        result = self._checked_record(index)
        excess = self.limits.excess(result)
        if excess is not None:
            raise RecordError(result["where"], excess)
        return apply_pipeline(self.pipeline, result, result["where"])

    def _checked_record(self, index: int) -> Record:
        """:meth:`record`; what a plugin's gives or raises against its contract is reported with its class and index."""
        name = type(self).__name__
        try:
            with naming_the_part(self, f"record {index} of {len(self)}"):
                result = self.record(index)
        except PartError as error:
            cause = error.__cause__
            if isinstance(cause, RecordError):
                raise cause from None
            if isinstance(cause, IndexError):
                raise PartError(f"{error}. Is {name}.__len__, {len(self)}, more than there is?") from cause
            raise
        if is_foreign(self) and (problem := record_problem(result)):
            raise PartError(f"{name}.record({index}) {problem}")
        return result

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"{type(self).__name__} has no record {index}: it has {len(self)}, counted from 0")


def apply_pipeline(pipeline: Sequence[Callable], record: Record, where: str) -> Any:
    """The record after all transforms of a pipeline.

    Raises:
        RecordError: If one of them cannot use it; ``where`` says which.
    """
    for number, step in enumerate(pipeline, start=1):
        record = _apply_transform(step, record, where, is_last=number == len(pipeline))
    return record


def _apply_transform(step: Callable, record: Record, where: str, is_last: bool) -> Any:
    foreign = is_foreign(step)
    before = snapshot(record) if foreign else record
    try:
        result = _step(step, record, where)
    except RecordError as error:
        if error.where == where:
            raise
        raise RecordError(where, str(error)) from error
    except OSError as error:  # mmcv's and other people's loaders: a file that cannot be read
        raise RecordError(where, f"{type(step).__name__}: {error}") from error
    if result is None:  # how mmcv's transforms drop a record
        raise RecordError(where, f"{step_name(step)} dropped it (it returned None)")
    if foreign and (problem := step_problem(step, before, result, is_last)):
        raise PartError(f"{where}: {problem}")
    return result


def _step(step: Callable, record: Record, where: str) -> Any:
    try:
        with naming_the_part(step, where):
            return step(record)
    except PartError as error:
        if isinstance(error.__cause__, (RecordError, OSError)):
            raise error.__cause__ from None
        raise
