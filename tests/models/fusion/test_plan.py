"""Several readings in one pass, against the plain layers with a copy of everything for each row."""

import pytest
import torch
import torch.nn.functional as F

from x2vlm.benchmark.plain_layers import CONTEXT_FORBIDDEN, TEXT_FORBIDDEN, forbid, fusion_layer
from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.fusion.plan import Plan, Reading
from x2vlm.models.outputs import Context, TextStates

WIDTH, SEEN_WIDTH = 8, 12


def fusion_encoder():
    torch.manual_seed(0)
    return CrossAttentionFusion(WIDTH, SEEN_WIDTH, depth=2, num_heads=2, init_std=0.3, dropout=0.0)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def texts(lengths, seed=1):
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return TextStates(drawn(*mask.shape, WIDTH, seed=seed).requires_grad_(), mask)


def growing_texts():
    """Each token sees those before it."""
    look = torch.ones(4, 4).tril().bool().expand(3, 4, 4)
    return TextStates(drawn(3, 4, WIDTH, seed=5).requires_grad_(), look)


def parts(owner, pictures=3, patches=4):
    """Each pair sees some patches of its picture."""
    owner = torch.tensor(owner)
    mask = drawn(len(owner), patches, seed=3) > 0
    mask[:, 0] = True
    tokens = drawn(pictures, patches, SEEN_WIDTH, seed=2).requires_grad_()
    return Context(tokens, owner, mask, drawn(len(owner), SEEN_WIDTH, seed=4).requires_grad_())


def sentences():
    """Contexts of different lengths, all of which is seen."""
    owner, masks = torch.tensor([1, 0, 1]), torch.tensor([[True, True, False], [True, True, True]])
    tokens, summaries = drawn(2, 3, SEEN_WIDTH, seed=6).requires_grad_(), drawn(2, SEEN_WIDTH, seed=7).requires_grad_()
    return Context(tokens, owner, masks[owner], summaries[owner], summaries=summaries, sees_whole=True, masks=masks)


def plain(fusion, reading):
    text, context = reading.chosen()
    hidden, source, seen = text.embeds, None, None
    if context is not None:
        source = torch.cat([context.summary[:, None], context.tokens[context.owner]], dim=1)
        seen = forbid(F.pad(context.mask, (1, 0), value=True), CONTEXT_FORBIDDEN)
    for layer in fusion.layer:
        hidden = fusion_layer(layer, hidden, forbid(text.mask, TEXT_FORBIDDEN), source, seen)
    if reading.at is None and text.mask.dim() == 2:
        hidden = hidden * text.mask[..., None]
    return reading.wanted(hidden)


def several():
    view, growing, plain_text = texts([5, 2, 4]), growing_texts(), texts([3, 6], seed=8)
    context, other = parts([0, 2, 0]), sentences()  # nobody asks picture 1
    chosen, again = torch.tensor([2, 2, 0, 1, 0]), torch.tensor([0, 1, 1, 2, 0])
    return {
        "summaries of chosen texts": Reading(view, context, chosen, again, at=0),
        "all tokens": Reading(view, context),
        "positions": Reading(view, context, at=torch.tensor([[1, 4], [0, 0], [3, 1]])),
        "the whole of pictures": Reading(view, context.whole(), contexts=torch.tensor([1, 1, 0]), at=0),
        "sentences": Reading(view, other, texts=torch.tensor([1, 0, 0]), at=torch.tensor([[1], [2], [0]])),
        "growing texts": Reading(growing, context),
        "one position of plain texts": Reading(plain_text, None, at=1),
        "plain texts": Reading(plain_text, None, texts=torch.tensor([1, 1, 0])),
    }


GROUPS = {
    "everything": list(several()),
    "two dimensional masks": [name for name in several() if name != "growing texts"],
    "nothing but summaries": ["summaries of chosen texts", "the whole of pictures"],
    "all tokens of a context": ["all tokens"],
    "plain texts only": ["plain texts", "one position of plain texts"],
    "growing texts alone": ["growing texts"],
    "plain before sentences": ["one position of plain texts", "sentences", "summaries of chosen texts"],
}


def gradients(fusion, readings, states):
    leaves = {f"fusion {name}": p for name, p in fusion.named_parameters()}
    for number, reading in enumerate(readings):
        leaves[f"{number} text"] = reading.text.embeds
        if reading.context is not None:
            leaves[f"{number} tokens"] = reading.context.tokens
    total = sum((state * drawn(*state.shape, seed=9)).sum() for state in states)
    grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {name: grad for name, grad in zip(leaves, grads, strict=True) if grad is not None}


def equal(ours, theirs, names):
    for name, mine, other in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("group", GROUPS)
def test_several_readings_are_what_the_plain_layers_give_for_each_row(group, training):
    fusion, made = fusion_encoder().train(training), several()
    readings = [made[name] for name in GROUPS[group]]
    ours, theirs = fusion.read(readings), [plain(fusion, reading) for reading in readings]
    equal(ours, theirs, GROUPS[group])
    ours, theirs = gradients(fusion, readings, ours), gradients(fusion, readings, theirs)
    assert ours.keys() == theirs.keys()
    equal(ours.values(), theirs.values(), ours)


@pytest.mark.parametrize("training", [True, False])
def test_several_readings_are_each_by_itself(training):
    fusion, made = fusion_encoder().train(training), several()
    alone = [fusion(*reading.chosen(), at=reading.at) for reading in made.values()]
    longest = [state.shape for state in alone]
    together = fusion.read(list(made.values()))
    assert [state.shape for state in together] == longest
    equal(together, alone, made)


def test_a_memory_changes_nothing():
    fusion, made = fusion_encoder().eval(), several()
    readings = list(made.values())
    kept = {id(r.context.tokens): fusion.project(r.context.tokens) for r in readings if r.context is not None}
    memories = [None if r.context is None else kept[id(r.context.tokens)] for r in readings]
    equal(fusion.read(readings, memories), fusion.read(readings), made)


def test_a_picture_that_nearly_everybody_asks_is_asked_by_several_groups():
    fusion, context = fusion_encoder(), parts([0] * 30 + [1, 2])
    reading = Reading(texts([6] * 32), context)
    asked = Plan([reading], [None], shares_first=False).steps(2)[0].sources[0][1]
    assert asked.pictures.tolist().count(0) > 1
    assert asked.layout.size < 6 * 30
    ours, theirs = fusion.read([reading])[0], plain(fusion, reading)
    equal([ours], [theirs], ["states"])
    ours, theirs = gradients(fusion, [reading], [ours]), gradients(fusion, [reading], [theirs])
    equal(ours.values(), theirs.values(), ours)


def test_where_nothing_is_drawn_texts_look_at_themselves_once_whoever_reads_them():
    fusion, made = fusion_encoder(), several()
    rows = []
    fusion.layer[0].attention.query.register_forward_hook(lambda module, given, out: rows.append(len(given[0])))
    reading = made["summaries of chosen texts"]
    fusion.eval().read([reading])
    fusion.train().read([reading])
    assert rows == [5 + 2 + 4, 4 + 4 + 5 + 2 + 5]


def test_the_last_layer_goes_on_with_wanted_tokens_only():
    fusion, made = fusion_encoder(), several()
    rows = []
    for layer in fusion.layer:
        layer.ffn.register_forward_hook(lambda module, given, out: rows.append(len(given[0])))
    fusion.read([made["summaries of chosen texts"], made["positions"]])
    assert rows == [20 + 11, 5 + 3 * 2]


@pytest.mark.parametrize("at", [2, torch.tensor([[0, 1], [0, 2]])])
def test_a_state_at_padding_is_refused_in_a_sentence(at):
    with pytest.raises(ValueError, match=r"at a position that is padding\. Ask at real tokens"):
        fusion_encoder()(texts([3, 2]), None, at=at)
