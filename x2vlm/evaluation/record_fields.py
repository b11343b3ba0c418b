"""What records tell besides pictures and texts, found for each text of a batch.

Shape letters: B texts, K contexts that one text reads together.
"""

from typing import Any

from x2vlm.data.batch import Batch


def record_of_texts(batch: Batch) -> list[int]:
    """For each text (picture, where there are only pictures) which of ``batch.extras`` is its record's.

    Raises:
        ValueError: If plain texts cannot be told apart by record: there are neither contexts, nor one
            record for each text, nor places that say where a record begins.
    """
    count = len(batch)
    if batch.owner is not None:
        together = max(1, len(batch.owner) // max(count, 1))  # K contexts of a record lie in a row
        return [owner // together for owner in batch.owner.tolist()[::together]]
    if len(batch.extras) == count:
        return list(range(count))
    numbers, record = [], -1
    for position, where in enumerate(batch.where):
        record += position == 0 or where != batch.where[position - 1]
        numbers.append(record)
    if len(numbers) != count or record + 1 != len(batch.extras):
        raise ValueError(
            f"a batch has {count} texts but extras of {len(batch.extras)} records, and its places do not tell which "
            "text belongs to which. Give each text a record of its own."
        )
    return numbers


def extras_of_texts(batch: Batch, key: str) -> list[Any]:
    """``extras[key]`` of each text's record, ``B`` of them; None where a record does not tell."""
    if not batch.extras:
        return [None] * len(batch)
    return [batch.extras[record].get(key) for record in record_of_texts(batch)]


def extras_of_contexts(batch: Batch, key: str) -> list[Any]:
    """Where ``extras[key]`` is a list with one entry for each text of the record: the entry of each text.

    ``B`` of them; None where a record does not tell, or its list is too short.
    """
    met: dict[int, int] = {}
    entries = []
    for record in record_of_texts(batch) if batch.extras else [None] * len(batch):
        position = met[record] = met.get(record, -1) + 1
        listed = () if record is None else batch.extras[record].get(key, ())
        entries.append(listed[position] if position < len(listed) else None)
    return entries
