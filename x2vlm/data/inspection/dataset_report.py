"""Statistics of a whole data set: counts, percentiles, repeated identities, records that cannot be used."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.map_records import RecordResult, where_of
from x2vlm.data.inspection.record_facts import RecordFacts
from x2vlm.data.io.box_rules import proposed_convention
from x2vlm.data.sampler import derive_seed

_MANY_WRONG = 0.05  # share of boxes from which on all of them look wrong
PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)


@dataclass
class DatasetReport:
    """Statistics of a data set, gathered record by record.

    Attributes:
        records: Records read.
        bad: Those that cannot be used.
        unusable: Elements that cannot be used, in records that can: ``where`` and reason.
        kinds: How many elements there are of each kind.
        languages: How many texts there are in each language.
        split_files: Files that are shown under several identities: ``where`` and the identities.
    """

    records: int = 0
    bad: list[BadRecord] = field(default_factory=list)
    unusable: list[BadRecord] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    split_files: list[BadRecord] = field(default_factory=list)
    _owners: dict[str, str] = field(default_factory=dict)
    _wrong_boxes: list[set[str]] = field(default_factory=list)
    _ids: list[int] = field(default_factory=list)
    _indices: list[int] = field(default_factory=list)
    _values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, result: RecordResult, adapter: Adapter) -> None:
        """Add one record, whose value is :class:`~x2vlm.data.inspection.record_facts.RecordFacts`."""
        self.records += 1
        if result.bad:
            self.bad.append(result.bad)
            return
        facts: RecordFacts = result.value
        self._ids.append(derive_seed(facts.id))
        self._indices.append(result.index)
        if facts.size:
            width, height = facts.size
            self._append(width=width, height=height, megapixels=width * height / 1e6, aspect=width / height)
        self._append(captions=len(facts.words))
        for words in facts.words:
            self._append(words=words)
        if facts.kinds:
            self._append(elements=len(facts.kinds))
        for width, height, share in facts.boxes:
            self._append(box_width=width, box_height=height, box_share=share, box_aspect=width / height)
        self._wrong_boxes += facts.conventions
        if facts.file is not None and self._owners.setdefault(facts.file, facts.id) != facts.id:
            both = f"{facts.file} is {self._owners[facts.file]!r:.60} and {facts.id!r:.60}"
            self.split_files.append(BadRecord(where_of(adapter, result.index), both))
        if facts.unusable:
            where = where_of(adapter, result.index)
            self.unusable += [BadRecord(where, reason) for reason in facts.unusable]
        self.kinds.update(facts.kinds)
        self.languages.update(facts.languages)

    def _append(self, **values: float) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Of every quantity its count, mean and :data:`PERCENTILES`."""
        return {name: _distribution(values) for name, values in self._values.items()}

    def convention(self) -> str:
        """In a sentence, by what other convention the boxes would fit, if many do not by this one; else empty."""
        boxes = len(self._values.get("box_share", ())) + len(self._wrong_boxes)
        if len(self._wrong_boxes) <= _MANY_WRONG * boxes:
            return ""
        hint = proposed_convention(self._wrong_boxes)
        return hint and f"{len(self._wrong_boxes):,} of {boxes:,} boxes are none{hint}"

    def duplicates(self, adapter: Adapter, max_listed: int = 20) -> tuple[int, list[dict[str, Any]]]:
        """How many identities several records have, and the ``where`` of the first of them."""
        ids = np.array(self._ids, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        _, starts, counts = np.unique(ids[order], return_index=True, return_counts=True)
        repeated = np.flatnonzero(counts > 1)
        groups = [order[starts[i] : starts[i] + counts[i]] for i in repeated]
        groups.sort(key=lambda group: group[0])
        listed = [[adapter.record(self._indices[i]) for i in group[:5].tolist()] for group in groups[:max_listed]]
        return len(repeated), [
            {"id": str(records[0]["id"]), "records": len(group), "where": [record["where"] for record in records]}
            for records, group in zip(listed, groups, strict=False)
        ]


def _distribution(values: Sequence[float]) -> dict[str, float]:
    array = np.asarray(values, dtype=np.float64)
    percentiles = np.percentile(array, PERCENTILES).tolist()
    return {
        "count": len(array),
        "mean": float(array.mean()),
        **{f"p{p}": value for p, value in zip(PERCENTILES, percentiles, strict=True)},
    }
