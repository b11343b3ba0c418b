"""Every text type of transformers that can be made tiny: what it computes is what transformers computes, or refused."""

import re
from pathlib import Path

import pytest
import torch

from x2vlm.benchmark.encoder_comparison.text_comparison import TINY, TOLERANCE, compare, tiny
from x2vlm.commands.compare_encoders import page
from x2vlm.models.text import HFTextEncoder
from x2vlm.models.text.hf_settings import OWN_ATTENTION

ROOT = Path(__file__).resolve().parents[3]
OTHERS = ["mpnet", "roformer", "rembert", "megatron-bert", "ibert", "esm", "longformer", "deberta-v2", "modernbert"]
CAUSAL = ["gpt2", "qwen3", "clip_text_model", "granite", "llama"]
REFUSED = {
    "bart": "'bart' is an encoder with a decoder",
    "t5": "'t5' is an encoder with a decoder",
    "clip": r"'clip' has several parts.*model_type='clip_text_model'",
    "fnet": r"'fnet' cannot leave out padding",
    "convbert": r"'convbert' does not leave out padding: states of real tokens change by",
    "yoso": "'yoso' does not leave out padding",
}


@pytest.mark.parametrize("kind", [*OWN_ATTENTION, *OTHERS])
def test_an_encoder_computes_what_transformers_computes(kind):
    found = compare(kind)
    assert found.verdict == "equal"
    assert found.difference < TOLERANCE


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_network_that_reads_from_left_to_right_is_taken_knowingly_or_not_at_all(kind):
    config = tiny(kind)[0]
    with pytest.raises(ValueError, match=rf"'{kind}' reads from left to right.*summary='last'"):
        HFTextEncoder(config=config)
    assert compare(kind).verdict == "equal, left to right"


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_serve_is_refused_by_name(kind):
    config = dict(model_type=kind, **TINY, pad_token_id=1)
    with pytest.raises(ValueError, match=REFUSED[kind]):
        HFTextEncoder(config=config)


def test_the_reason_of_a_refusal_is_not_cut_within_a_sentence():
    assert compare("fnet").reason.endswith("a text encoder needs input_ids and attention_mask. Use another type.")


@pytest.mark.slow
def test_the_page_of_encoders_says_what_the_command_finds():
    """Every fifteenth type and family: all take minutes. The numbers may differ from machine to machine."""
    page_lines = (ROOT / "docs" / "encoders.md").read_text().splitlines()
    rows = [line for line in page_lines if line.startswith("| `")]
    names = [re.match(r"\| `([^`]+)`", row)[1] for row in rows[::15]]
    found = [line.splitlines()[0] for line, _ in page(names) if line.startswith(("| `", "- `"))]
    lines = [line for line in page_lines if line.startswith(("| `", "- `"))]
    written = [line for line in lines if re.match(r"[|-] `([^`]+)`", line)[1] in names]

    def verdicts(lines: list[str]) -> list[str]:
        return [re.sub(r"\d\S*", "#", line) for line in lines]

    assert verdicts(found) == verdicts(written)


def test_a_mask_of_every_token_is_refused_where_the_network_takes_none():
    encoder = HFTextEncoder(config=tiny("gpt2")[0], summary="last")
    with pytest.raises(ValueError, match=r"'gpt2' cannot read a text with a mask of its own for every token"):
        encoder(torch.tensor([[5, 6]]), torch.ones(1, 2, 2, dtype=torch.bool))


def test_looking_at_a_network_uses_up_no_random_number_and_leaves_it_in_training():
    state = torch.get_rng_state()
    config = tiny("mpnet")[0]
    torch.set_rng_state(state)
    encoder = HFTextEncoder(config=config)
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    HFTextEncoder(config=config, attention="native")
    assert torch.equal(after, torch.get_rng_state())
    assert all(module.training for module in encoder.modules())


@pytest.mark.parametrize("kind", ["distilbert", "gpt2", "mpnet"])
def test_dropout_reaches_every_type(kind):
    encoder = HFTextEncoder(config=tiny(kind)[0], dropout=0.37, summary="last" if kind == "gpt2" else "first")
    rates = {module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.37}
