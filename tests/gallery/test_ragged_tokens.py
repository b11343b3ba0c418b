"""Distinct texts are encoded once, with little padding, and returned in their order with the same values."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.two_processes import in_two_processes
from x2vlm.gallery.ragged_tokens import RaggedTokens, encode_texts, encode_texts_distributed, length_buckets
from x2vlm.models.eval_mode import eval_mode


def random_tokens(count, seed=0, longest=9):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, longest, (count,), generator=generator)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return RaggedTokens.from_padded(torch.randint(1, 30, mask.shape, generator=generator) * mask, mask)


def test_padding_and_unpadding_round_trip():
    tokens = random_tokens(7)
    ids, mask = tokens.padded()
    again = RaggedTokens.from_padded(ids, mask)
    assert torch.equal(again.tokens, tokens.tokens)
    assert torch.equal(again.ends, tokens.ends)
    assert not ids[~mask].any()


@given(index=st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_selected_texts_equal_rows_of_the_padded_ids(index):
    tokens = random_tokens(7)
    ids, mask = tokens.padded()
    selected, selected_mask = tokens.select(torch.tensor(index)).padded()
    length = selected_mask.shape[1]
    assert torch.equal(selected, ids[index][:, :length])
    assert torch.equal(selected_mask, mask[index][:, :length])


@given(lengths=st.lists(st.integers(1, 40), max_size=80), max_size=st.integers(1, 40))
def test_buckets_hold_texts_of_similar_length_and_every_text_once(lengths, max_size):
    lengths = torch.tensor(lengths, dtype=torch.long)
    batches = list(length_buckets(lengths, max_size))
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    assert all(len(batch) <= max_size for batch in batches)
    for batch in batches:
        padding = int((lengths[batch].max() - lengths[batch]).sum())
        assert len(batch) <= 8 or padding <= 0.1 * len(batch) * int(lengths[batch].max())


def test_encoding_in_buckets_equals_encoding_text_by_text_in_the_order_of_the_texts(model):
    tokens = random_tokens(40)
    with eval_mode(model):
        together = encode_texts(model, tokens, chunk=16)
        for number in range(len(tokens)):
            ids, mask = tokens.select(torch.tensor([number])).padded()
            single, length = model.encode_text(ids, mask), ids.shape[1]
            torch.testing.assert_close(together.embeds[number, :length], single.embeds[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.feat[number], single.feat[0], atol=1e-5, rtol=0)
            assert together.mask[number].sum() == length


def test_equal_texts_are_encoded_once_with_little_padding(model, monkeypatch):
    tokens = random_tokens(64)
    tokens = tokens.select(torch.arange(64).repeat(3))
    shapes, encode = [], model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda ids, mask: shapes.append(ids.shape) or encode(ids, mask))
    with eval_mode(model):
        encoded = encode_texts(model, tokens, chunk=16)
    first, inverse = tokens.unique()
    assert sum(rows for rows, _ in shapes) == len(first) <= 64
    real = int(tokens.select(first).lengths.sum())
    assert real <= sum(rows * length for rows, length in shapes) <= 1.1 * real
    assert torch.equal(encoded.feat[:64], encoded.feat[128:])
    assert torch.equal(tokens.select(first[inverse]).tokens, tokens.tokens)


def test_two_processes_encode_half_of_the_texts_each_and_both_get_all(model, tmp_path):
    tokens = random_tokens(11)

    def task(rank):
        counts, encode = [], model.encode_text
        model.encode_text = lambda ids, mask: counts.append(len(ids)) or encode(ids, mask)
        with eval_mode(model):
            encoded = encode_texts_distributed(model, tokens)
        return sum(counts), encoded.embeds.numpy()

    results = in_two_processes(task, tmp_path)
    with eval_mode(model):
        expected = encode_texts(model, tokens).embeds
    assert [results[rank][0] for rank in range(2)] == [6, 5]
    for rank in range(2):
        torch.testing.assert_close(torch.from_numpy(results[rank][1]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [0, 1])
def test_no_items_or_one_can_be_joined(count):
    items = [random_tokens(3)] * count
    assert len(RaggedTokens.join(items)) == 3 * count
