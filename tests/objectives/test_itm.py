import pytest
import torch
from torch import nn

from tests.models.conftest import image_batch, losses_of, tiny_model
from x2vlm.constants import IGNORE_INDEX
from x2vlm.objectives.itm import ITM, draw


def itm(model):
    return model.objectives["itm"]


def logits_of(model, encoded, contexts, texts):
    (pairs,) = model.read([itm(model).request(encoded, contexts, texts)])
    return itm(model).score(pairs.states), pairs.request.labels


def test_a_true_pair_is_never_drawn_as_a_negative():
    model = tiny_model()
    batch = image_batch()
    batch.ids = torch.tensor([5, 5, 6, 7])
    for weights in itm(model).sampling_weights(model.encode(batch)):
        assert (weights[:2, :2] == 0).all() and (weights.diagonal() == 0).all()
        assert (weights[2:, :2] > 0).all()


def test_harder_negatives_are_drawn_more_often():
    torch.manual_seed(0)
    drawn = draw(torch.tensor([[0.0, 0.9, 0.1]]).expand(3000, 3)[:, :].contiguous())
    assert 0.87 < (drawn == 1).float().mean() < 0.93 and (drawn != 0).all()


def test_without_hardness_every_negative_is_as_likely():
    model = tiny_model()
    itm(model).hardness = (0.0, 0.0)
    for weights in itm(model).sampling_weights(model.encode(image_batch(4))):
        expected = (torch.ones(4, 4) - torch.eye(4)) * (1 / 4 + 1e-5)
        torch.testing.assert_close(weights, expected)


def test_a_hardness_between_two_numbers_is_another_for_each_row():
    torch.manual_seed(0)
    model = tiny_model()
    encoded = model.encode(image_batch(4))
    logits = (encoded.context.feat @ encoded.text.feat.T / encoded.temperature).detach()
    itm(model).hardness = (0.5, 2.0)
    t2i, i2t = itm(model).sampling_weights(encoded)
    factors = []
    for weights, rows in ((t2i - 1e-5, logits.T), (i2t - 1e-5, logits)):
        for row in range(4):
            a, b = [column for column in range(4) if column != row][:2]
            factors.append((weights[row, a].log() - weights[row, b].log()) / (rows[row, a] - rows[row, b]))
    factors = torch.stack(factors)
    assert (factors > 0.45).all() and (factors < 2.05).all() and factors.std() > 0.1


def test_rows_without_a_candidate_draw_nothing():
    assert draw(torch.tensor([[0.0, 0.0], [1.0, 0.0]])).tolist() == [-1, 0]


def test_a_batch_of_one_trains_on_the_true_pair_only():
    model = tiny_model()
    encoded = model.encode(image_batch(1))
    loss = losses_of(model, "itm", encoded)["loss_itm"]
    fused = model.fuse(encoded.context, encoded.text)
    expected = nn.functional.cross_entropy(itm(model).score(fused[:, 0]), torch.tensor([1]))
    torch.testing.assert_close(loss, expected)


def test_one_pass_over_all_pairs_equals_a_pass_for_each():
    model = tiny_model()
    encoded = model.encode(image_batch())
    contexts, texts = torch.tensor([1, 2, 3, 0]), torch.tensor([3, 0, 1, 2])
    logits, labels = logits_of(model, encoded, contexts, texts)
    assert labels.tolist() == [1] * 4 + [0] * 8
    own = torch.arange(4)
    for part, (context, text) in enumerate([(own, own), (contexts, own), (own, texts)]):
        fused = model.fuse(encoded.context.select(context), encoded.text.select(text))
        torch.testing.assert_close(logits[4 * part : 4 * part + 4], itm(model).score(fused[:, 0]))


def test_missing_negatives_are_left_out_of_the_loss():
    model = tiny_model()
    encoded = model.encode(image_batch())
    none, some = torch.full((4,), -1), torch.tensor([1, -1, 3, 0])
    _, labels = logits_of(model, encoded, some, none)
    assert labels.tolist() == [
        1,
        1,
        1,
        1,
        0,
        IGNORE_INDEX,
        0,
        0,
        IGNORE_INDEX,
        IGNORE_INDEX,
        IGNORE_INDEX,
        IGNORE_INDEX,
    ]
    fused = model.read([itm(model).request(encoded, some, none)])
    assert torch.isfinite(itm(model).losses(encoded, fused)["loss_itm"])


def test_broken_features_reach_the_loss_instead_of_failing_the_draw():
    model = tiny_model()
    batch = image_batch()
    batch.pixels[0] = float("nan")
    assert losses_of(model, "itm", model.encode(batch))["loss_itm"].isnan()


def test_negatives_are_drawn_as_multinomial_draws_them():
    weights = torch.rand(50, 7, generator=torch.Generator().manual_seed(0))
    weights[:, 3] = 0
    torch.manual_seed(1)
    expected = torch.multinomial(weights, 1).squeeze(1)
    torch.manual_seed(1)
    assert torch.equal(draw(weights), expected)


def test_few_pairs_of_a_batch_are_trained_on_with_negatives_from_all_of_it():
    torch.manual_seed(0)
    model = tiny_model()
    itm(model).max_pairs = 2
    encoded = model.encode(image_batch(6))
    rows = [itm(model).requests(encoded)[0] for _ in range(50)]
    for request in rows:
        assert len(request.labels) == 6 and request.labels.tolist() == [1, 1, 0, 0, 0, 0]
        assert (request.texts[:2] == request.contexts[:2]).all() and (request.texts[2:] != request.contexts[2:]).all()
    assert {int(row) for request in rows for row in request.texts[4:]} == set(range(6))


def test_as_many_pairs_as_the_batch_has_or_more_are_all_of_them():
    model = tiny_model()
    encoded = model.encode(image_batch(4))
    torch.manual_seed(0)
    expected = itm(model).requests(encoded)[0]
    itm(model).max_pairs = 4
    torch.manual_seed(0)
    assert itm(model).requests(encoded)[0].texts.equal(expected.texts)


def test_smoothed_labels_cost_what_torch_says():
    model = tiny_model()
    encoded = model.encode(image_batch(1))
    itm(model).label_smoothing = 0.2
    fused = model.fuse(encoded.context, encoded.text)
    expected = nn.functional.cross_entropy(itm(model).score(fused[:, 0]), torch.tensor([1]), label_smoothing=0.2)
    torch.testing.assert_close(losses_of(model, "itm", encoded)["loss_itm"], expected)


@pytest.mark.parametrize(
    "options", [{"max_pairs": 0}, {"label_smoothing": 1.0}, {"hardness": -1.0}, {"hardness": (1.0, 0.5)}]
)
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        ITM(8, **options)
