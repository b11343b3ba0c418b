"""Candidates by cosine and their matching logits."""

import torch

from x2vlm.gallery.nearest_neighbours import NO_CANDIDATE
from x2vlm.gallery.reranking.rerank_candidates import score_candidates, similarity_chunks


def unit(count, seed):
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_chunks_of_cosines_equal_the_whole_matrix():
    queries, gallery = unit(7, 0), unit(5, 1)
    chunks = list(similarity_chunks(queries, gallery, 3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    torch.testing.assert_close(torch.cat(chunks), queries @ gallery.T)


def test_pairs_are_scored_once_in_the_order_of_their_contexts():
    texts_of, contexts_of = torch.tensor([[1, 0], [2, NO_CANDIDATE]]), torch.tensor([[0], [0], [1]])
    scored = []

    def score(contexts, texts):
        scored.append(list(zip(contexts.tolist(), texts.tolist(), strict=True)))
        return 10.0 * contexts + texts

    text_scores, context_scores = score_candidates(score, texts_of, contexts_of)
    assert scored == [[(0, 0), (0, 1), (1, 2)]]
    assert text_scores.tolist() == [[1, 0], [12, -torch.inf]]
    assert context_scores.tolist() == [[0], [1], [12]]
