"""A tower or an objective that breaks its contract is told what it gave and what was expected, when it is built."""

import pytest
import torch
from torch import nn

from x2vlm.building import ConfigError, PartError, build
from x2vlm.models.needs import Needs
from x2vlm.models.vision import vision_contract
from x2vlm.models.x2vlm import X2VLM
from x2vlm.objectives.base import Objective
from x2vlm.registry import VISION_ENCODERS
from x2vlm.testing import tiny_batch, tiny_model


class ConvGrid(nn.Module):
    """A patch convolution; ``changes`` make mistakes."""

    def __init__(self, output=lambda tokens: (tokens, None), **changes) -> None:
        super().__init__()
        self.conv, self.output = nn.Conv2d(3, 16, 4, 4), output
        self.width, self.grid, self.image_size = 16, (4, 4), (16, 16)
        for name, value in changes.items():
            setattr(self, name, value)

    def forward(self, images):
        return self.output(self.conv(images).flatten(2).transpose(1, 2))


class NoSuper(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 16, 4, 4)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.width = 16


class Failing(ConvGrid):
    def forward(self, images):
        raise KeyError("patch")


class Scaling(ConvGrid):
    def forward(self, images):
        return super().forward(images.mul_(2))


def with_summary(tokens):
    return tokens, tokens[:, 0, :8]


WANTED = r"expected \(tokens \[U, 16, 16\], summary \[U, 16\] or None\)"
VISION = {
    "tokens alone": (lambda: ConvGrid(lambda t: t), rf"ConvGrid\.forward returned a Tensor \[2, 16, 16\].*{WANTED}"),
    "a map": (
        lambda: ConvGrid(lambda t: (t.transpose(1, 2).unflatten(2, (4, 4)), None)),
        rf"a map \[2, 16, 4, 4\] as tokens; {WANTED}\. Write tokens\.flatten\(2\)\.transpose\(1, 2\)",
    ),
    "CLS kept": (
        lambda: ConvGrid(lambda t: (torch.cat([t[:, :1], t], dim=1), None)),
        rf"tokens \[2, 17, 16\], one too many; {WANTED}\. If the first is \[CLS\], give it as the summary",
    ),
    "a wrong width": (lambda: ConvGrid(width=12), r"tokens \[2, 16, 16\]; .*\[U, 16, 12\].*It says width=12"),
    "a wrong grid": (lambda: ConvGrid(grid=(2, 4)), r"tokens \[2, 16, 16\]; .*It says width=16 and grid=\(2, 4\)"),
    "a grid of one number": (lambda: ConvGrid(grid=4), r"ConvGrid\.grid is 4; expected \(rows, columns\) of tokens"),
    "a summary of another width": (lambda: ConvGrid(with_summary), rf"a Tensor \[2, 8\] .* as summary; {WANTED}"),
    "missing attributes": (Lazy, r"Lazy lacks grid, image_size; a part of this kind needs width, grid, image_size"),
    "no module": (lambda: object.__new__(type("Plain", (), {"__module__": "mine"})), r"Plain is no torch\.nn\.Module"),
    "a map, flattened alone": (
        lambda: ConvGrid(lambda t: (t[:, :12].transpose(1, 2), None), grid=(3, 4), image_size=(12, 16)),
        r"tokens \[2, 16, 12\]; .*Write tokens\.transpose\(1, 2\)",
    ),
    "no numbers": (lambda: ConvGrid(lambda t: (t / 0 * 0, None)), rf"tokens that are not all finite.*; {WANTED}"),
    "another dtype": (
        lambda: ConvGrid(lambda t: (t.half(), None)),
        r"a Tensor \[2, 16, 16\] of float16 as tokens; .*Its weights are of float32; keep to that",
    ),
    "columns before rows": (
        lambda: ConvGrid(lambda t: (t.unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2), None)),
        r"ConvGrid gives tokens column by column.*Give them row by row: flatten\(2\) of a map",
    ),
    "images that mix": (
        lambda: ConvGrid(lambda t: (t - t.mean(0, keepdim=True), None)),
        r"ConvGrid gives an image other tokens where other images are beside it.*neither on the batch",
    ),
    "a list of modules": (
        lambda: ConvGrid(layers=[nn.Linear(16, 16)]),
        r"ConvGrid\.layers is a list of modules, whose weights .* Use torch\.nn\.ModuleList",
    ),
    "a summary of another dtype": (
        lambda: ConvGrid(lambda t: (t, t.mean(1).double())),
        r"a Tensor \[2, 16\] of float64 as summary; .*Its weights are of float32; keep to that",
    ),
    "a summary of no numbers": (
        lambda: ConvGrid(lambda t: (t, t.mean(1) / 0 * 0)),
        rf"returned a summary that is not all finite.*; {WANTED}",
    ),
    "images changed in place": (lambda: Scaling(), r"Scaling changed images in place.*x = x \+ 1, not x \+= 1"),
    "an image that cells do not cover": (
        lambda: ConvGrid(image_size=(18, 16)),
        r"ConvGrid\.image_size is \(18, 16\) and ConvGrid\.grid is \(4, 4\); expected rows and columns of pixels that",
    ),
    "random tokens": (
        lambda: ConvGrid(lambda t: (t + torch.randn_like(t), None)),
        r"ConvGrid gives an image other tokens where other images are.*nor on random numbers",
    ),
    "an error": (
        lambda: Failing(),
        r"Failing\.forward of images \[2, 3, 16, 16\] raised KeyError: 'patch' \(.*test_tower_contract\.py, line \d+\)",
    ),
}


@pytest.mark.parametrize("mistake", VISION)
def test_a_vision_encoder_is_told_what_it_gave_and_what_was_expected(mistake):
    make, message = VISION[mistake]
    with pytest.raises(ConfigError, match=rf"(?s)^model\.vision_encoder: .*{message}"):
        tiny_model(vision_encoder=make())


@pytest.fixture
def warned(monkeypatch):
    messages = []
    monkeypatch.setattr(vision_contract, "print_log", lambda message, **_: messages.append(message))
    return messages


def test_tokens_whose_order_cannot_be_told_for_sure_are_a_warning(warned):
    shuffled = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    tiny_model(vision_encoder=ConvGrid(lambda t: (t[:, shuffled], None)))
    assert len(warned) == 1
    assert warned[0].startswith("ConvGrid gives tokens that do not seem to follow the image")


def test_a_grid_of_oblong_cells_is_a_warning(warned):
    tiny_model(vision_encoder=ConvGrid(grid=(2, 8)))
    assert warned == [
        "ConvGrid.grid is (2, 8) for images of 16 x 16 pixels, so a token would stand for 8 x 2 of them, rows x "
        "columns. Is that meant?"
    ]


def test_an_encoder_with_tokens_in_order_gets_no_warning(warned):
    tiny_model(vision_encoder=ConvGrid())
    assert not warned


def test_an_error_of_a_tower_in_a_step_names_it_and_the_shapes():
    model = tiny_model(vision_encoder=ConvGrid())
    model.vision_encoder.output = lambda tokens: tokens.view(7)
    with pytest.raises(PartError, match=r"^forward of \[4, 3, 16, 16\]: ConvGrid raised RuntimeError: shape"):
        model(tiny_batch())


def test_a_tower_that_cannot_recompute_is_told_so():
    with pytest.raises(ConfigError, match=r"model\.vision_encoder: ConvGrid has no set_activation_checkpointing\(on\)"):
        tiny_model(vision_encoder=ConvGrid(), activation_checkpointing=True)


def test_a_forgotten_super_init_is_named():
    with pytest.raises(ConfigError, match=r"vision_encoder: NoSuper\.__init__ must call super\(\)\.__init__\(\) first"):
        build(VISION_ENCODERS, dict(type=NoSuper), "vision_encoder")


def test_an_encoder_that_keeps_its_contract_trains_and_uses_up_no_random_number():
    encoder = ConvGrid()
    state = torch.get_rng_state()
    X2VLM(encoder, None, None, objectives={}, embed_dim=None)
    assert torch.equal(state, torch.get_rng_state())
    model = tiny_model(vision_encoder=encoder).train()
    losses = model(tiny_batch())
    sum(losses.values()).backward()
    assert encoder.conv.weight.grad.abs().sum() > 0
    assert encoder.training


class Words(nn.Module):
    """Embeddings, mixed over the text as ``mix`` says."""

    def __init__(self, mix=None, **changes) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(40, 8), mix or Words.mean
        self.width, self.vocab_size = 8, 40
        for name, value in changes.items():
            setattr(self, name, value)

    @property
    def word_embeddings(self):
        return self.words.weight

    def forward(self, text_ids, text_mask):
        return self.mix(self.words(text_ids), text_mask)

    @staticmethod
    def mean(embeds, mask):
        return embeds + (embeds * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]

    @staticmethod
    def leaking(embeds, mask):
        return embeds + embeds.mean(1, keepdim=True)

    @staticmethod
    def causal(embeds, mask):
        return embeds.cumsum(1)


class NoWords(Words):
    word_embeddings = None


class ModuleOfWords(Words):
    @property
    def word_embeddings(self):
        return self.words


TEXT = {
    "one vector for a text": (lambda: Words(lambda e, m: e.mean(1)), r"returned \[3, 8\]; expected states \[B, L, 8\]"),
    "padding that leaks": (lambda: Words(Words.leaking), r"Words does not leave out padding: states of real tokens"),
    "read from left to right": (lambda: Words(Words.causal), r"Words reads from left to right.*summary='last'"),
    "a wrong width": (lambda: Words(width=9), r"returned \[3, 5, 8\]; expected states \[B, L, 9\]"),
    "two things": (lambda: Words(lambda e, m: (e, m)), r"returned a tuple of a Tensor .*; expected states \[B, L, 8\]"),
    "padding cut off": (
        lambda: Words(lambda e, m: Words.mean(e, m)[:, : int(m.sum(1).max())]),
        r"of a text of 3 tokens and 2 of padding returned \[1, 3, 8\]; expected states \[B, L, 8\], padding included",
    ),
    "no numbers": (lambda: Words(lambda e, m: e / 0), r"states that are not all finite"),
    "embeddings as a module": (ModuleOfWords, r"word_embeddings is an Embedding; expected .* Give its \.weight"),
    "no embeddings": (NoWords, r"NoWords\.word_embeddings is None; expected the weights \[40, D\]"),
    "another dtype": (
        lambda: Words(lambda e, m: Words.mean(e, m).half()),
        r"returned a Tensor \[3, 5, 8\] of float16; expected states \[B, L, 8\]\. Its weights are of float32",
    ),
    "no numbers beside padding": (
        lambda: Words(lambda e, m: Words.mean(e, m).masked_fill(~m.all(1)[:, None, None], float("nan"))),
        r"not all finite \(NaN or infinite\), where texts end in padding; expected .*finite at padding too",
    ),
    "a mask changed in place": (
        lambda: Words(lambda e, m: Words.mean(e, m.fill_(True))),
        r"Words changed text_mask in place, which other parts read too",
    ),
    "padding by name": (lambda: Words(pad_token_id="[PAD]"), r"Words\.pad_token_id is '\[PAD\]'; expected the number"),
    "an unknown summary": (lambda: Words(summary="mean"), r"Words\.summary is 'mean'; expected one of first, last"),
}


@pytest.mark.parametrize("mistake", TEXT)
def test_a_text_encoder_is_told_what_it_gave_and_what_was_expected(mistake):
    make, message = TEXT[mistake]
    with pytest.raises(ConfigError, match=rf"^model\.text_encoder: .*{message}"):
        tiny_model(text_encoder=make())


@pytest.mark.parametrize("encoder", [Words(), Words(Words.causal, summary="last")], ids=["both ways", "left to right"])
def test_a_text_encoder_that_keeps_its_contract_trains(encoder):
    losses = tiny_model(text_encoder=encoder).train()(tiny_batch())
    sum(losses.values()).backward()
    assert encoder.words.weight.grad.abs().sum() > 0


def test_a_text_encoder_with_fewer_words_than_the_tokenizer_is_refused():
    tokenizer = type("Tokenizer", (), {"pad_token_id": 0, "__len__": lambda self: 50})()
    with pytest.raises(ConfigError, match=r"text_encoder: Words knows 40 words, and the tokenizer has 50\. Leave"):
        tiny_model(text_encoder=Words(), tokenizer=tokenizer)


class Gate(nn.Module):
    """Adds the mean of what is seen."""

    def __init__(self, width: int, context_width: int, result=lambda hidden: hidden, named: int | None = None) -> None:
        super().__init__()
        self.up, self.result, self.width = nn.Linear(context_width, width), result, named or width

    def forward(self, text, context, keys_values=None):
        seen = self.up(context.summary) if context is not None else torch.zeros(1)
        return self.result(text.embeds + seen[:, None])


FUSION = {
    "a pair": (dict(result=lambda h: (h, None)), r"returned a tuple of a Tensor .*, None; expected states \[3, 4, 8\]"),
    "a summary alone": (
        dict(result=lambda h: h[:, 0]),
        r"returned a Tensor \[3, 8\] of float32; expected .*\[3, 4, 8\]",
    ),
    "a wrong width": (dict(named=12), r"returned a Tensor \[3, 4, 8\] of float32; expected states \[3, 4, 12\]"),
    "another dtype": (
        dict(result=lambda h: h.double()),
        r"returned a Tensor \[3, 4, 8\] of float64; expected states \[3, 4, 8\]\. Its weights are of float32",
    ),
}


def of_plain_text_nothing(hidden, text, context, seen):
    return hidden + seen(context.summary)[:, None]


READING = {
    "texts changed in place": (
        lambda h, t, c, seen: h.add_(1),
        r"changed text\.embeds in place, which other parts read",
    ),
    "a context changed in place": (
        lambda h, t, c, seen: h + seen(c.summary.mul_(2))[:, None] if c else h,
        r"changed context\.summary in place, which other parts read",
    ),
    "padding": (lambda h, t, c, seen: h + h.mean(1, keepdim=True), "reads padding: what stands where text.mask is"),
    "what a mask hides": (
        lambda h, t, c, seen: h + seen(c.tokens.mean(1))[c.owner][:, None] if c else h,
        "reads patches where context.mask is False: they move states",
    ),
    "other images": (
        lambda h, t, c, seen: h + seen(c.tokens[0, 0] + c.tokens[1, 0]) if c else h,
        r"reads images of other texts.*Take context\.tokens\[context\.owner\]",
    ),
    "no text without an image": (
        of_plain_text_nothing,
        r"no context \(None\) raised AttributeError.*A context of None is plain text",
    ),
}


class Reader(nn.Module):
    """Adds what ``read`` gives; the gate is closed at the beginning."""

    def __init__(self, width: int, context_width: int, read) -> None:
        super().__init__()
        self.up, self.read_all, self.width = nn.Linear(context_width, width), read, width
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, text, context, keys_values=None):
        changed = self.read_all(text.embeds, text, context, self.up)
        return text.embeds + self.gate * (changed - text.embeds)


@pytest.mark.parametrize("mistake", READING)
def test_a_fusion_encoder_that_reads_what_it_must_not_is_refused_even_behind_a_closed_gate(mistake):
    read, message = READING[mistake]
    with pytest.raises(ConfigError, match=rf"^model\.fusion_encoder: Reader .*{message}"):
        tiny_model(fusion_encoder=dict(type=Reader, read=read))


class Projecting(Reader):
    def project(self, tokens):
        raise KeyError("keys")


class Reading(Reader):
    def read(self, requests):
        return None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Projecting, r"Projecting of texts .* raised KeyError: 'keys' \(.*test_tower_contract\.py, line \d+\)"),
        (Reading, r"Reading\.read of 1 request\(s\) returned None; expected a list of as many Tensors"),
    ],
)
def test_optional_methods_of_a_fusion_encoder_are_run_too(kind, message):
    with pytest.raises(ConfigError, match=rf"^model\.fusion_encoder: {message}"):
        tiny_model(fusion_encoder=dict(type=kind, read=lambda hidden, text, context, seen: hidden))


def test_gates_are_closed_again_after_the_look():
    model = tiny_model(fusion_encoder=dict(type=Reader, read=lambda hidden, text, context, seen: 2 * hidden))
    assert model.fusion_encoder.gate.item() == 0


@pytest.mark.parametrize("mistake", FUSION)
def test_a_fusion_encoder_is_told_what_it_gave_and_what_was_expected(mistake):
    arguments, message = FUSION[mistake]
    with pytest.raises(ConfigError, match=rf"^model\.fusion_encoder: Gate of texts \[3, 4, 8\] .*{message}"):
        tiny_model(fusion_encoder=dict(type=Gate, **arguments))


def test_a_fusion_encoder_that_keeps_its_contract_trains():
    losses = tiny_model(fusion_encoder=dict(type=Gate)).train()(tiny_batch())
    assert all(loss.isfinite() for loss in losses.values())


class Mine(Objective):
    needs = Needs(text=True, context=True, features=True)

    def __init__(self, result=None, needs=None) -> None:
        super().__init__()
        self.result, self.needs = result, needs or self.needs

    def losses(self, encoded, fused):
        return self.result(encoded.text.feat.pow(2).sum(dim=1))


OBJECTIVES = {
    "a tensor": (lambda x: x.mean(), r"returned a Tensor \[\] of float32; expected named scalars.*'loss_mine'"),
    "a vector": (lambda x: {"loss_mine": x}, r"returned a Tensor \[4\] of float32 as 'loss_mine'.*Take a mean"),
    "a number": (lambda x: {"loss_mine": 1.0}, r"returned a float as 'loss_mine'"),
    "no loss": (
        lambda x: {"score": x.mean()},
        r"returned 'score': no name has 'loss' in it, so nothing would be learned",
    ),
    "nothing": (lambda x: {}, r"returned nothing: no name has 'loss' in it"),
}


@pytest.mark.parametrize("mistake", OBJECTIVES)
def test_an_objective_is_told_what_it_gave_and_what_was_expected(mistake):
    result, message = OBJECTIVES[mistake]
    model = tiny_model(objectives=dict(mine=Mine(result)))
    with pytest.raises(PartError, match=rf"^model\.objectives\.mine: Mine\.losses {message}"):
        model(tiny_batch())


class NoLosses(Objective):
    needs = Needs(text=True)

    def loss(self, encoded, fused):
        return {}


class Alone(nn.Module):
    needs = Needs(text=True)

    def losses(self, encoded, fused):
        return {}


class Former(Objective):
    requires = ("text.embeds",)

    def losses(self, encoded, fused):
        return {}


PROTOCOL = {
    NoLosses: r"NoLosses lacks losses\(encoded, fused\)",
    Alone: r"Alone lacks requests\(encoded\) or weight\. Derive it from x2vlm\.objectives\.base\.Objective",
    Former: r"Former has `requires`, which nothing reads, and no `needs`",
}


@pytest.mark.parametrize("kind", PROTOCOL)
def test_an_objective_that_is_not_whole_is_refused_when_it_is_built(kind):
    with pytest.raises(ConfigError, match=rf"^model\.objectives\.mine: {PROTOCOL[kind]}"):
        tiny_model(objectives=dict(mine=kind()))


def test_what_is_no_list_of_requests_is_told():
    mine = Mine(lambda x: {"loss": x.mean()})
    mine.requests = lambda encoded: encoded.text
    model = tiny_model(objectives=dict(mine=mine))
    with pytest.raises(PartError, match=r"Mine\.requests returned a TextStates; expected a list of FusionRequest"):
        model(tiny_batch())


def test_where_an_objective_stumbles_over_none_the_needs_that_it_does_not_name_are_told():
    mine = Mine(lambda x: {"loss": x.mean()}, needs=Needs(text=True))
    message = (
        r"Mine raised AttributeError.*Its needs do not name, so that it is None: .*encoded\.text\.feat, context\.feat"
    )
    with pytest.raises(PartError, match=message):
        tiny_model(objectives=dict(mine=mine))(tiny_batch())


def test_a_field_that_no_batch_has_is_named_when_the_model_is_built():
    with pytest.raises(ConfigError, match=r"model\.objectives\.mine: Mine\.needs names batch 'lables'.*'labels'\?"):
        tiny_model(objectives=dict(mine=Mine(needs=Needs(batch=("lables",)))))


def test_an_error_inside_an_objective_names_stream_objective_and_class():
    def fail(x):
        raise IndexError("no such row")

    model = tiny_model(objectives=dict(mine=Mine(fail)))
    message = r"^stream 'image', objective 'mine', losses: Mine raised IndexError: no such row$"
    with pytest.raises(PartError, match=message) as caught:
        model({"image": tiny_batch()}, objectives={"image": None})
    assert isinstance(caught.value.__cause__, IndexError)


def test_an_error_in_a_constructor_names_the_place_and_the_class():
    class Broken(nn.Module):
        def __init__(self) -> None:
            raise KeyError("weights")

    with pytest.raises(PartError, match=r"^vision_encoder: Broken could not be built: KeyError: 'weights'$"):
        build(VISION_ENCODERS, dict(type=Broken), "vision_encoder")
