"""Two-stage retrieval with a tiny model: cached and chunked scoring equals scoring pair by pair."""

import pytest
import torch

from tests.models.conftest import tiny_model
from x2vlm.evaluation.metrics.recall import best_ranks, recall_at
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.gallery.encode_in_memory import encode_retrieval_set
from x2vlm.gallery.reranking.rerank_candidates import score_pairs_in_memory
from x2vlm.gallery.reranking.rerank_key_values import positive_logits
from x2vlm.gallery.select_pairs import select_pairs
from x2vlm.models.eval_mode import eval_mode

STREAMS = ["images", "regions", "videos"]


@pytest.fixture
def batches(request):
    return request.getfixturevalue(request.param)


def pair_by_pair(model, batches):
    """Every text against the first pair of every identity, from pixels and tokens, with nothing shared."""
    contexts = {}
    for batch in batches:
        for pair, identity in enumerate(batch.ids.tolist()):
            contexts.setdefault(identity, (batch, pair))
    rows, cosines = [], []
    for batch, pair in contexts.values():
        context = model.encode_context(select_pairs(batch, torch.tensor([pair])))
        texts = [
            model.encode_text(*t) for b in batches for t in zip(b.text_ids[:, None], b.text_mask[:, None], strict=True)
        ]
        fused = [model.fusion_encoder(text, context)[:, 0] for text in texts]
        rows.append(torch.cat([model.objectives["itm"].score(f)[:, 1] for f in fused]))
        cosines.append(torch.cat([context.feat @ text.feat.T for text in texts], dim=1)[0])
    return torch.tensor(list(contexts)), torch.cat([b.ids for b in batches]), torch.stack(rows), torch.stack(cosines)


@pytest.mark.parametrize("batches", STREAMS, indirect=True)
def test_scores_on_cached_keys_equal_those_of_each_pair_by_pair(model, batches):
    with eval_mode(model):
        features = encode_retrieval_set(model, batches)
        contexts, texts = len(features.context_ids), len(features.text_ids)
        pairs = torch.arange(contexts * texts)
        scores = score_pairs_in_memory(model, features, pairs // texts, pairs % texts, chunk=7).view(contexts, texts)
        context_ids, text_ids, expected, cosines = pair_by_pair(model, batches)
    assert torch.equal(features.context_ids, context_ids)
    assert torch.equal(features.text_ids, text_ids)
    assert scores.std() > 0.1  # the scores differ enough for the comparison to be meaningful
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(features.context_feats @ features.texts.feat.T, cosines, atol=1e-5, rtol=0)


@pytest.mark.parametrize("batches", STREAMS, indirect=True)
@pytest.mark.parametrize(("k", "cosine_weight"), [(1, 0.0), (2, 0.0), (50, 0.0), (3, 20.0), (50, 20.0)])
def test_recalls_follow_the_published_protocol(model, batches, k, cosine_weight):
    """And with the cosine added, that of the sum."""
    results = RetrievalMetric(k=k, at=(1, 2), cosine_weight=cosine_weight).evaluate(model, batches)
    with eval_mode(model):
        context_ids, text_ids, logits, cosines = pair_by_pair(model, batches)
    for way, scores, cosine, ids in (
        ("i2t", logits, cosines, (context_ids, text_ids)),
        ("t2i", logits.T, cosines.T, (text_ids, context_ids)),
    ):
        reranked = torch.full_like(scores, -100.0)
        for row, columns in enumerate(cosine.topk(min(k, cosine.shape[1]), dim=1).indices):
            reranked[row, columns] = scores[row, columns] + cosine_weight * cosine[row, columns]
        for at in (1, 2):
            assert results[f"{way}_r{at}"] == pytest.approx(100 * recall_at(best_ranks(reranked, *ids), at))
            assert results[f"itc_{way}_r{at}"] == pytest.approx(100 * recall_at(best_ranks(cosine, *ids), at))


@pytest.mark.parametrize("batches", STREAMS, indirect=True)
def test_chunked_equals_whole(model, batches):
    whole = RetrievalMetric(k=3, chunk=1000).evaluate(model, batches)
    assert [RetrievalMetric(k=3, chunk=n).evaluate(model, batches) for n in (1, 2, 5)] == [whole] * 3


INDEXES = [
    dict(type="ExactIndex", chunk=2, queries=2),
    dict(type="FaissFlat"),
    dict(type="FaissIVF", lists=2, probes=2),
]


@pytest.mark.parametrize("batches", STREAMS, indirect=True)
@pytest.mark.parametrize("index", INDEXES, ids=lambda index: index["type"])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_an_exhaustive_index_changes_no_metric(model, batches, index, k):
    whole = RetrievalMetric(k=k, at=(1, 2, 5)).evaluate(model, batches)
    assert RetrievalMetric(k=k, at=(1, 2, 5), index=index).evaluate(model, batches) == pytest.approx(whole)


def test_an_approximate_index_costs_recall_and_raises_no_error(model, images):
    whole = RetrievalMetric(k=9).evaluate(model, images)
    poor = RetrievalMetric(k=9, index=dict(type="FaissIVF", lists=6, probes=1)).evaluate(model, images)
    assert poor["itc_r_mean"] < whole["itc_r_mean"]
    assert 0 <= poor["r_mean"] <= 100


def test_an_unknown_index_is_an_error_when_the_metric_is_built():
    with pytest.raises(ValueError, match=r"index: 'FaissIFV'.*FaissIVF"):
        RetrievalMetric(index=dict(type="FaissIFV"))


def images_projected(model, patches=4):
    """A list to which the number of images is appended whenever keys of all their patches are projected."""
    counts = []
    key = model.fusion_encoder.layer[0].crossattention.key
    key.register_forward_hook(lambda _, inputs, out: counts.append(len(out)) if out.shape[1] >= patches else None)
    return counts


def test_each_image_is_encoded_and_its_keys_are_projected_once(model, images):
    encoded = []
    model.vision_encoder.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0])))
    projected = images_projected(model)
    RetrievalMetric(k=9, chunk=4).evaluate(model, images)
    assert sum(encoded) == 6
    assert sum(projected) == 6


def test_regions_of_an_image_share_its_projected_keys(model, regions):
    projected = images_projected(model)
    RetrievalMetric(k=6).evaluate(model, regions)
    assert sum(projected) == 2


def test_a_pair_is_scored_once_though_both_directions_need_it(model, videos, monkeypatch):
    scored, score = [], model.objectives["itm"].score
    monkeypatch.setattr(model.objectives["itm"], "score", lambda fused: scored.append(len(fused)) or score(fused))
    RetrievalMetric(k=4).evaluate(model, videos)
    assert sum(scored) == 4 * 4


def test_chance_counts_the_captions_of_each_image(model, images):
    results = RetrievalMetric(k=2).evaluate(model, images)
    assert results["chance_t2i_r1"] == pytest.approx(100 / 6)
    assert results["chance_i2t_r1"] == pytest.approx(100 * 9 / 9 / 6)  # nine captions for six images, among nine
    assert results["chance_t2i_r10"] == 100


def test_without_a_second_stage_there_is_one_set_of_metrics(model, images):
    both, first = RetrievalMetric(k=2).evaluate(model, images), RetrievalMetric(rerank=False).evaluate(model, images)
    assert not [name for name in first if name.startswith("itc_")]
    assert first["i2t_r1"] == both["itc_i2t_r1"]
    assert first["r_mean"] == both["itc_r_mean"]


def test_r_mean_is_the_mean_of_the_six_recalls(model, images):
    results = RetrievalMetric(k=2).evaluate(model, images)
    six = [results[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in (1, 5, 10)]
    assert results["r_mean"] == pytest.approx(sum(six) / 6)


def test_one_pair_has_full_recall(model, make):
    results = RetrievalMetric().evaluate(model, [make.batch([0], [5])])
    assert results["i2t_r1"] == results["t2i_r1"] == results["chance_i2t_r1"] == 100


def test_a_model_without_matching_is_an_error_that_says_what_to_do(model, images):
    del model.objectives["itm"]
    with pytest.raises(ValueError, match=r"'itm'.*itc, bbox.*rerank=False"):
        RetrievalMetric().evaluate(model, images)
    assert RetrievalMetric(rerank=False).evaluate(model, images)["i2t_r1"] >= 0


def test_an_empty_loader_is_an_error(model):
    with pytest.raises(ValueError, match="nothing to search"):
        RetrievalMetric().evaluate(model, [])


def test_images_without_texts_are_an_error(model, images):
    images[0].text_ids = images[0].text_mask = None
    with pytest.raises(ValueError, match="needs texts"):
        RetrievalMetric().evaluate(model, images[:1])


def test_a_diverged_model_is_an_error_and_not_a_perfect_score(model, images):
    torch.nn.init.constant_(model.text_proj.weight, float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        RetrievalMetric().evaluate(model, images)


def test_evaluating_leaves_the_model_as_it_was(model, images):
    model.train()
    model.vision_encoder.eval()  # a frozen part
    modes = [module.training for module in model.modules()]
    RetrievalMetric(k=2).evaluate(model, images)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_does_not_change_the_metrics(model, images):
    expected = RetrievalMetric(k=2).evaluate(model, images)
    assert RetrievalMetric(k=2).evaluate(model.train(), images) == expected


def test_no_pairs_give_no_logits(model, videos):
    with eval_mode(model):
        features = encode_retrieval_set(model, videos)
        none = torch.zeros(0, dtype=torch.long)
        assert positive_logits(model, features.local_contexts[0], none, features.texts, none).shape == (0,)


@pytest.mark.parametrize("wrong", [dict(k=0), dict(chunk=0), dict(at=(0, 1))])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match="counts from 1"):
        RetrievalMetric(**wrong)


def test_regions_with_tokens_of_their_own_are_scored_like_others(regions):
    """CLIP ViT encodes regions separately: their tokens follow those of the images."""
    torch.manual_seed(0)
    net = tiny_model(
        vision_encoder=dict(
            type="CLIPViT", image_size=8, patch_size=4, width=16, depth=2, num_heads=2, local_attn_depth=1
        ),
        num_frames=0,
    )
    with eval_mode(net):
        features = encode_retrieval_set(net, regions)
        pairs = torch.arange(36)
        scores = score_pairs_in_memory(net, features, pairs // 6, pairs % 6, chunk=5).view(6, 6)
        encoded = net.encode(regions[0])
        for c in range(6):
            fused = net.fusion_encoder(encoded.text, encoded.context.select(torch.full((6,), c)))
            expected = net.objectives["itm"].score(fused[:, 0])[:, 1]
            torch.testing.assert_close(scores[c], expected, atol=1e-5, rtol=0)
    assert scores.std(dim=0).min() > 1e-3


@pytest.mark.parametrize("options", [{"cosine_weight": -1.0}, {"cosine_weight": 1.0, "rerank": False}])
def test_a_weight_of_the_cosine_that_does_nothing_is_refused(options):
    with pytest.raises(ValueError, match="cosine_weight"):
        RetrievalMetric(**options)


def test_no_weight_of_the_cosine_puts_a_candidate_behind_the_others(model, images):
    """Even where its cosine is negative."""
    few, none_behind = (RetrievalMetric(k=2, at=(1, 2), cosine_weight=weight) for weight in (0.0, 1e4))
    first = few.evaluate(model, images)
    assert none_behind.evaluate(model, images)["i2t_r2"] == first["i2t_r2"]
    for parameter in (model.vision_proj.weight, model.vision_proj.bias):
        parameter.data.neg_()
    first = few.evaluate(model, images)
    assert none_behind.evaluate(model, images)["i2t_r2"] == first["i2t_r2"]


@pytest.mark.parametrize("index", [None, dict(type="ExactIndex")])
def test_the_cosine_is_added_to_what_an_index_found_too(model, images, index):
    plain = RetrievalMetric(k=50, at=(1, 2), cosine_weight=20.0).evaluate(model, images)
    assert RetrievalMetric(k=50, at=(1, 2), cosine_weight=20.0, index=index).evaluate(model, images) == plain
