"""Fields of the records (``Batch.extras``), looked up for each text of a batch.

Shape letters: B texts, K contexts that one text reads together.
"""

from typing import Any

from x2vlm.data.batch import Batch


def record_of_texts(batch: Batch) -> list[int]:
    """For each text (image, where there are only images) the index of its record in ``batch.extras``.

    Raises:
        ValueError: If plain texts cannot be assigned to records: there are neither contexts, nor one record for each
            text, nor ``where`` values that show where a record begins.
    """
    count = len(batch)
    if batch.owner is not None:
        contexts_per_text = max(1, len(batch.owner) // max(count, 1))  # K contexts of a record are consecutive
        return [owner // contexts_per_text for owner in batch.owner.tolist()[::contexts_per_text]]
    if len(batch.extras) == count:
        return list(range(count))
    records, record = [], -1
    for position, where in enumerate(batch.where):
        record += position == 0 or where != batch.where[position - 1]
        records.append(record)
    if len(records) != count or record + 1 != len(batch.extras):
        raise ValueError(
            f"a batch has {count} texts but extras of {len(batch.extras)} records, and Batch.where does not show which "
            "text belongs to which. Give each text a record of its own."
        )
    return records


def extras_of_texts(batch: Batch, key: str) -> list[Any]:
    """``extras[key]`` of each text's record, ``B`` values; None where a record has no such key."""
    if not batch.extras:
        return [None] * len(batch)
    return [batch.extras[record].get(key) for record in record_of_texts(batch)]


def extras_by_text(batch: Batch, key: str) -> list[Any]:
    """The entry of each text where ``extras[key]`` is a list with one entry for each text of the record.

    ``B`` values; None where a record has no such key, or its list is too short.
    """
    positions: dict[int, int] = {}
    entries = []
    for record in record_of_texts(batch) if batch.extras else [None] * len(batch):
        position = positions[record] = positions.get(record, -1) + 1
        values = () if record is None else batch.extras[record].get(key, ())
        entries.append(values[position] if position < len(values) else None)
    return entries
