"""Several requests in one pass, against the reference layers with a copy of everything for each row."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from x2vlm.models.fusion import requests as module
from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.fusion.fusion_plan import FusionPlan
from x2vlm.models.fusion.requests import FusionRequest, fuse, states_at
from x2vlm.models.outputs import Context, TextStates
from x2vlm.reference.reference_layers import CONTEXT_FORBIDDEN, TEXT_FORBIDDEN, additive_mask, fusion_layer

WIDTH, SEEN_WIDTH = 8, 12


SHAPES = pytest.mark.parametrize("shapes", ["exact", "rounded"])


def fusion_encoder(shapes="exact"):
    torch.manual_seed(0)
    return CrossAttentionFusion(WIDTH, SEEN_WIDTH, depth=2, num_heads=2, init_std=0.3, dropout=0.0, shapes=shapes)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def texts(lengths, seed=1):
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return TextStates(drawn(*mask.shape, WIDTH, seed=seed).requires_grad_(), mask)


def growing_texts():
    """Each token attends to those before it."""
    causal = torch.ones(4, 4).tril().bool().expand(3, 4, 4)
    return TextStates(drawn(3, 4, WIDTH, seed=5).requires_grad_(), causal)


def parts(owner, images=3, patches=4):
    """Each pair attends to some patches of its image."""
    owner = torch.tensor(owner)
    mask = drawn(len(owner), patches, seed=3) > 0
    mask[:, 0] = True
    tokens = drawn(images, patches, SEEN_WIDTH, seed=2).requires_grad_()
    return Context(tokens, owner, mask, drawn(len(owner), SEEN_WIDTH, seed=4).requires_grad_())


def sentences():
    """Contexts of different lengths, all of which are attended to."""
    owner, masks = torch.tensor([1, 0, 1]), torch.tensor([[True, True, False], [True, True, True]])
    tokens, summaries = drawn(2, 3, SEEN_WIDTH, seed=6).requires_grad_(), drawn(2, SEEN_WIDTH, seed=7).requires_grad_()
    return Context(tokens, owner, masks[owner], summaries[owner], summaries=summaries, sees_whole=True, masks=masks)


def reference(fusion, request):
    text, context = request.selected()
    hidden, source, seen = text.embeds, None, None
    if context is not None:
        source = torch.cat([context.summary[:, None], context.tokens[context.owner]], dim=1)
        seen = additive_mask(F.pad(context.mask, (1, 0), value=True), CONTEXT_FORBIDDEN)
    for layer in fusion.layer:
        hidden = fusion_layer(layer, hidden, additive_mask(text.mask, TEXT_FORBIDDEN), source, seen)
    if request.at is None and text.mask.dim() == 2:
        hidden = hidden * text.mask[..., None]
    return states_at(hidden, request.at)


def several():
    view, growing, plain_text = texts([5, 2, 4]), growing_texts(), texts([3, 6], seed=8)
    context = replace(parts([0, 2, 0]), source="images")  # no pair has image 1
    other = replace(sentences(), source="sentences")
    view, plain_text = replace(view, source="texts"), replace(plain_text, source="plain texts")
    chosen, again = torch.tensor([2, 2, 0, 1, 0]), torch.tensor([0, 1, 1, 2, 0])
    return {
        "summaries of chosen texts": FusionRequest(view, context, chosen, again, at=0),
        "all tokens": FusionRequest(view, context),
        "positions": FusionRequest(view, context, at=torch.tensor([[1, 4], [0, 0], [3, 1]])),
        "fewer positions": FusionRequest(view, context, at=torch.tensor([[-1, 4], [-1, -1], [3, 1]])),
        "the whole of images": FusionRequest(view, context.whole(), contexts=torch.tensor([1, 1, 0]), at=0),
        "sentences": FusionRequest(view, other, texts=torch.tensor([1, 0, 0]), at=torch.tensor([[1], [2], [0]])),
        "growing texts": FusionRequest(growing, context),
        "one position of plain texts": FusionRequest(plain_text, None, at=1),
        "plain texts": FusionRequest(plain_text, None, texts=torch.tensor([1, 1, 0])),
    }


GROUPS = {
    "everything": list(several()),
    "two dimensional masks": [name for name in several() if name != "growing texts"],
    "nothing but summaries": ["summaries of chosen texts", "the whole of images"],
    "all tokens of a context": ["all tokens"],
    "plain texts only": ["plain texts", "one position of plain texts"],
    "growing texts alone": ["growing texts"],
    "plain before sentences": ["one position of plain texts", "sentences", "summaries of chosen texts"],
}


def gradients(fusion, requests, states):
    leaves = {f"fusion {name}": p for name, p in fusion.named_parameters()}
    for number, request in enumerate(requests):
        leaves[f"{number} text"] = request.text.embeds
        if request.context is not None:
            leaves[f"{number} tokens"] = request.context.tokens
    total = sum((state * drawn(*state.shape, seed=9)).sum() for state in states)
    grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {name: grad for name, grad in zip(leaves, grads, strict=True) if grad is not None}


def equal(ours, theirs, names):
    for name, mine, other in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@SHAPES
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("group", GROUPS)
def test_several_requests_are_what_the_reference_layers_give_for_each_row(group, training, shapes):
    fusion, made = fusion_encoder(shapes).train(training), several()
    requests = [made[name] for name in GROUPS[group]]
    ours, theirs = fusion.read(requests), [reference(fusion, request) for request in requests]
    equal(ours, theirs, GROUPS[group])
    ours, theirs = gradients(fusion, requests, ours), gradients(fusion, requests, theirs)
    assert ours.keys() == theirs.keys()
    equal(ours.values(), theirs.values(), ours)


@SHAPES
@pytest.mark.parametrize("training", [True, False])
def test_several_requests_are_each_by_itself(training, shapes):
    fusion, made = fusion_encoder(shapes).train(training), several()
    alone = [fusion(*request.selected(), at=request.at) for request in made.values()]
    longest = [state.shape for state in alone]
    together = fusion.read(list(made.values()))
    assert [state.shape for state in together] == longest
    equal(together, alone, made)


def test_keys_and_values_that_were_projected_before_change_nothing():
    fusion, made = fusion_encoder().eval(), several()
    requests = list(made.values())
    kept = {r.context.source: fusion.project(r.context.tokens) for r in requests if r.context is not None}
    given = [r if r.context is None else replace(r, keys_values=kept[r.context.source]) for r in requests]
    equal(fusion.read(given), fusion.read(requests), made)


def projected(fusion, requests):
    calls = []
    hook = fusion.layer[0].crossattention.key.register_forward_hook(lambda *_: calls.append(1))
    fusion.read(requests)
    hook.remove()
    return len(calls)


def test_contexts_share_keys_and_values_because_they_carry_one_name():
    fusion, made = fusion_encoder(), several()
    requests = [made["all tokens"], made["the whole of images"]]
    assert projected(fusion, requests) == 1
    nameless = [replace(r, context=replace(r.context, source=None)) for r in requests]
    assert projected(fusion, nameless) == 2
    equal(fusion.read(nameless), fusion.read(requests), ["all tokens", "the whole of images"])


def test_contexts_that_differ_under_one_name_are_refused():
    one, other = (replace(parts([0, 2, 0]), source="images") for _ in range(2))
    requests = [FusionRequest(texts([5, 2, 4]), context) for context in (one, other)]
    with pytest.raises(ValueError, match=r"two contexts that differ carry the name 'images'. Give each its own"):
        fusion_encoder().read(requests)


def test_texts_that_differ_under_one_name_are_refused():
    one, other = (replace(texts([5, 2, 4]), source="captions") for _ in range(2))
    with pytest.raises(ValueError, match=r"two batches of texts that differ carry the name 'captions'"):
        fusion_encoder().read([FusionRequest(one, None), FusionRequest(other, None)])


def test_index_tensors_on_a_device_are_fetched_all_at_once():
    fusion, made = fusion_encoder(), several()
    request, fetched = made["summaries of chosen texts"], []

    class Elsewhere(torch.Tensor):
        """An index that says that it lies on a GPU."""

        @property
        def device(self):
            return torch.device("cuda", 0)

        def cpu(self):
            fetched.append(1)
            return self.as_subclass(torch.Tensor)

    there = [index.as_subclass(Elsewhere) for index in (request.texts, request.contexts)]
    requests = [replace(request, texts=there[0], contexts=there[1])] * 2
    equal(fusion.read(requests), fusion.read([request] * 2), ["first", "second"])
    assert fetched == [1]


class OneByOne(torch.nn.Module):
    """A fusion encoder of a plugin, which can only fuse one batch."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.projected, self.width = inner, 0, WIDTH

    def project(self, tokens):
        self.projected += 1
        return self.inner.project(tokens)

    def forward(self, text, context, keys_values=None):
        return self.inner(text, context, keys_values)


def test_a_fusion_encoder_that_fuses_one_batch_is_called_for_each_request_and_the_log_says_so_once(monkeypatch):
    fusion, made = fusion_encoder(), several()
    plugin, requests = OneByOne(fusion), list(made.values())
    messages = []
    monkeypatch.setattr(module, "print_log", lambda text, **_: messages.append(text))
    fused, _ = (fuse(plugin, requests) for _ in range(2))
    equal([one.states for one in fused], fusion.read(requests), made)
    assert [one.request for one in fused] == requests
    assert plugin.projected == 2 * 2  # the images and the sentences, in each of two passes
    assert [text.split(":")[0] for text in messages] == ["OneByOne has no read(requests)"]


def test_without_a_fusion_encoder_nothing_can_be_read():
    assert fuse(None, []) == []
    with pytest.raises(ValueError, match="this model has no fusion encoder"):
        fuse(None, [several()["all tokens"]])


def test_an_image_with_most_of_the_queries_has_several_groups():
    fusion, context = fusion_encoder(), parts([0] * 30 + [1, 2])
    request = FusionRequest(texts([6] * 32), context)
    groups = FusionPlan([request]).layers(2)[0].cross_attention.groups[0]
    assert groups.images.tolist().count(0) > 1
    assert groups.size < 6 * 30
    ours, theirs = fusion.read([request])[0], reference(fusion, request)
    equal([ours], [theirs], ["states"])
    ours, theirs = gradients(fusion, [request], [ours]), gradients(fusion, [request], [theirs])
    equal(ours.values(), theirs.values(), ours)


def test_without_dropout_self_attention_of_the_first_layer_runs_once_for_each_distinct_text():
    fusion, made = fusion_encoder(), several()
    rows = []
    fusion.layer[0].attention.query.register_forward_hook(lambda module, given, out: rows.append(len(given[0])))
    request = made["summaries of chosen texts"]
    fusion.eval().read([request])
    fusion.train().read([request])
    assert rows == [5 + 2 + 4, 4 + 4 + 5 + 2 + 5]


def test_the_last_layer_computes_requested_tokens_only():
    fusion, made = fusion_encoder(), several()
    rows = []
    for layer in fusion.layer:
        layer.ffn.register_forward_hook(lambda module, given, out: rows.append(len(given[0])))
    fusion.read([made["summaries of chosen texts"], made["positions"]])
    assert rows == [20 + 11, 5 + 3 * 2]


@pytest.mark.parametrize("at", [2, torch.tensor([[0, 1], [0, 2]])])
def test_a_state_at_padding_is_refused_in_a_sentence(at):
    with pytest.raises(ValueError, match=r"at a position that is padding\. Request states of real tokens"):
        fusion_encoder()(texts([3, 2]), None, at=at)
