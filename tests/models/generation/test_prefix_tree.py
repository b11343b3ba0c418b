"""Beginnings that answers share, against sets of lists."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.models.generation.prefix_tree import prefix_tree

ROWS = st.lists(st.lists(st.integers(5, 7), max_size=4), min_size=3, max_size=3)


def padded(rows, length=4):
    ids = torch.tensor([[row + [0] * (length - len(row)) for row in question] for question in rows])
    return ids, ids != 0


def written(made, question, number):
    """The words of a beginning, from those above it."""
    above = made.above[question, number].nonzero()[:, 0].tolist()
    depths = made.depth[question, above].tolist()
    assert sorted(depths) == list(range(len(above)))
    return [made.ids[question, above[depths.index(depth)]].item() for depth in range(len(above))]


@given(rows=st.lists(ROWS, min_size=1, max_size=3).filter(lambda rows: any(any(question) for question in rows)))
def test_every_token_of_every_answer_stands_for_all_words_up_to_it(rows):
    made = prefix_tree(*padded(rows))
    for q, question in enumerate(rows):
        for c, answer in enumerate(question):
            for t in range(len(answer)):
                assert written(made, q, made.number[q, c, t]) == answer[: t + 1]


@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_no_beginning_is_held_twice(rows):
    made = prefix_tree(*padded(rows))
    distinct = [{tuple(row[: t + 1]) for row in question for t in range(len(row))} for question in rows]
    assert made.ids.shape == (len(rows), max(map(len, distinct)))
    for q, beginnings in enumerate(distinct):
        used = {n for c, row in enumerate(rows[q]) for n in made.number[q, c, : len(row)].tolist()}
        assert len(used) == len(beginnings)


@pytest.mark.parametrize("count", [1, 200])
def test_beginnings_of_many_answers_are_in_the_order_of_the_answers(count):
    ids = torch.arange(5, 5 + count).view(1, count, 1)
    made = prefix_tree(ids, torch.ones_like(ids, dtype=torch.bool))
    assert torch.equal(made.ids[0], ids[0, :, 0])
    assert torch.equal(made.above[0], torch.eye(count, dtype=torch.bool))
