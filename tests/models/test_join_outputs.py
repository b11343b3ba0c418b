"""Encoded texts and contexts of several batches are concatenated and padded."""

import torch

from x2vlm.models.join_outputs import join_contexts, join_texts, pad_text_embeds, to_cpu
from x2vlm.models.outputs import Context, TextStates


def texts(count, length):
    return TextStates(torch.ones(count, length, 4), torch.ones(count, length, dtype=torch.bool), torch.ones(count, 2))


def test_texts_are_padded_to_the_longest():
    joined = join_texts([texts(2, 3), texts(1, 5)])
    assert joined.mask.sum(dim=1).tolist() == [3, 3, 5]
    assert joined.embeds.sum(dim=(1, 2)).tolist() == [12, 12, 20]
    assert joined.feat.shape == (3, 2)


def test_owners_of_joined_contexts_index_the_joined_tokens():
    def context(images, length, owner):
        mask = torch.ones(len(owner), length, dtype=torch.bool)
        return Context(torch.randn(images, length, 4), torch.tensor(owner), mask, torch.zeros(len(owner), 4))

    first, second = context(2, 3, [0, 1, 1]), context(1, 5, [0, 0])
    joined = join_contexts([first, second])
    assert joined.owner.tolist() == [0, 1, 1, 2, 2]
    assert joined.mask.sum(dim=1).tolist() == [3, 3, 3, 5, 5]
    assert torch.equal(joined.tokens[joined.owner[1], :3], first.tokens[1])
    assert torch.equal(joined.tokens[joined.owner[4]], second.tokens[0])


def test_stored_embeddings_are_padded_with_zeros():
    padded = pad_text_embeds(torch.arange(1.0, 4.0)[:, None], torch.tensor([1, 2]))
    assert padded.embeds[..., 0].tolist() == [[1, 0], [2, 3]]
    assert padded.mask.tolist() == [[True, False], [True, True]]


def test_moving_to_the_cpu_keeps_what_is_not_a_tensor():
    moved = to_cpu(texts(1, 2))
    assert moved.host_mask is None
    assert moved.embeds.device.type == "cpu"
