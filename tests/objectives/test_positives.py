import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.conftest import image_batch, tiny_model
from x2vlm.objectives.positives import check_rule, keys_match, pair_keys, text_keys


def keys(rule, ids=None):
    batch = image_batch()
    batch.text_ids = batch.text_ids[[0, 2, 2, 3]]
    batch.text_mask = batch.text_mask[[0, 2, 2, 3]]
    batch.ids = ids
    return pair_keys(tiny_model().encode(batch), rule)


@pytest.mark.parametrize(
    ("rule", "others"),
    [("pairs", set()), ("ids", {(0, 3)}), ("ids_and_texts", {(0, 3), (1, 2)})],
)
def test_a_rule_says_which_other_pairs_are_true(rule, others):
    found = keys(rule, ids=torch.tensor([7, 8, 9, 7]))
    true = keys_match(found, found)
    assert true.diagonal().all()
    assert {(int(i), int(j)) for i, j in true.triu(1).nonzero()} == others


def test_without_identities_only_the_pair_itself_is_true():
    found = keys("ids")
    assert torch.equal(keys_match(found, found), torch.eye(4, dtype=torch.bool))


@given(st.lists(st.integers(0, 30000), min_size=1, max_size=12), st.integers(1, 5))
def test_the_key_of_a_text_does_not_depend_on_padding(words, pads):
    short = torch.tensor([words])
    long = torch.tensor([words + [0] * pads])
    mask = torch.arange(long.shape[1])[None] < len(words)
    assert text_keys(short, torch.ones_like(short, dtype=torch.bool)) == text_keys(long, mask)


@given(st.lists(st.integers(0, 99), min_size=2, max_size=6), st.data())
def test_another_text_has_another_key(words, data):
    place = data.draw(st.integers(0, len(words) - 1))
    other = list(words)
    other[place] += data.draw(st.integers(1, 50))
    both = torch.tensor([words, other])
    first, second = text_keys(both, torch.ones_like(both, dtype=torch.bool))
    assert first != second


def test_an_unknown_rule_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"positives='id' is not known. Accepted: pairs, ids, ids_and_texts"):
        check_rule("id")
