"""State dicts of the published classes: there and back again, name for name, byte for byte."""

import json

import pytest
import torch

from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.kind_detection import guess_kind, is_published
from x2vlm.weights.published_state import from_published, to_published

TINY = [
    *("XVLM", "XVLMForRetrieval", "XVLMForGrounding", "XVLMForVQA", "XVLMForMLMCaptioning", "XVLMForNLVR"),
    *("XVLMForVQAClassification", "XVLMForClassification", "CrossViewLM", "XVLMPlus"),
    *("CLIPVisionTransformer", "SwinTransformer", "XFM"),
]
SAME = {"XVLMForClassification": "XVLMForVQAClassification", "XVLMPlus": "CrossViewLM"}  # in names and shapes


@pytest.fixture(scope="module")
def published(shared):
    return json.loads((shared / "golden" / "state_dict_names.json").read_text())


def random_state(names):
    """Random tensors, the derived ones as the published classes make them."""
    torch.manual_seed(0)
    state = {name: torch.randn(shape) for name, shape in names}
    for name, value in list(state.items()):
        if name.endswith("position_ids"):
            state[name] = torch.arange(value.shape[1])[None]
        elif name.endswith("relative_position_index"):
            state[name] = index_by_hand(len(state[name.replace("index", "bias_table")]), len(value))
        elif name.endswith("decoder.bias"):
            state[name] = state[name.replace("decoder.bias", "bias")]
        elif name.endswith("decoder.weight") and not name.startswith("mlm_head"):
            encoder = name.split(".")[0]
            words = next(n for n in state if n.startswith(encoder) and n.endswith("word_embeddings.weight"))
            state[name] = state[words]
    return state


def index_by_hand(rows, length):
    """SPEC: (dy + h - 1)(2w - 1) + (dx + w - 1), query minus key; class positions at the end."""
    has_class = int((length - 1) ** 0.5) ** 2 == length - 1
    side = int((length - has_class) ** 0.5)
    index = torch.zeros(length, length, dtype=torch.long)
    for query in range(side * side):
        for key in range(side * side):
            dy, dx = query // side - key // side, query % side - key % side
            index[query + has_class, key + has_class] = (dy + side - 1) * (2 * side - 1) + dx + side - 1
    if has_class:
        index[0, :], index[:, 0], index[0, 0] = rows - 3, rows - 2, rows - 1
    return index


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("kind", TINY)
def test_a_published_class_comes_back_as_it_was(kind, published):
    state = random_state(published["tiny"][kind])
    assert guess_kind(state) == SAME.get(kind, kind)
    ours = from_published(state)
    assert not is_published(ours)
    assert_same(to_published(ours, kind), state)


@pytest.mark.parametrize("kind", ["CLIPVisionTransformer", "SwinTransformer"])
def test_a_converted_tower_finds_its_way_back_alone(kind, published):
    state = random_state(published["tiny"][kind])
    assert_same(to_published(from_published(state)), state)


@pytest.mark.parametrize("kind", TINY)
def test_even_tensors_that_should_be_copies_and_are_not_come_back(kind, published):
    torch.manual_seed(0)
    state = {name: torch.randn(shape) for name, shape in published["tiny"][kind]}
    assert_same(to_published(from_published(state), kind), state)


FULL = [
    *("XVLM_base_4m_pretraining", "XVLM_base_1b_pretraining", "XVLM_base_1b_stage2_pretraining"),
    *("XVLM_large_4m_pretraining", "XVLM_large_1b_stage2_pretraining", "XVLMForRetrieval_base_384px"),
    *("XVLMForNLVR_base_384px", "XVLMForGrounding_base_384px", "XVLMForVQA_base_768px"),
    *("XVLMForMLMCaptioning_base_384px", "XVLMForVQAClassification_base_video_224px_5frames_1500labels"),
    *("CrossViewLM_base_pretraining", "XVLMPlus_base_pretraining", "XVLMForRetrieval_large_384px"),
    *("XVLMForNLVR_large_384px", "XVLMForGrounding_large_384px", "XVLMForVQA_large_768px"),
    *("XVLMForMLMCaptioning_large_384px", "XVLMForVQAClassification_large_video_224px_5frames_1500labels"),
    *("CrossViewLM_large_pretraining", "XFM_base_4m_pretraining"),
]


def test_every_class_of_full_size_is_tried(published):
    assert set(FULL) == set(published["full_size"])
    assert set(TINY) == set(published["tiny"])


@pytest.mark.parametrize("name", FULL)
def test_a_class_of_full_size_has_its_names_and_shapes_again(name, published):
    names = published["full_size"][name]
    state = {key: torch.zeros(()).expand(shape) for key, shape in names}  # takes no memory
    kind = name.split("_")[0]
    assert guess_kind(state) == SAME.get(kind, kind)
    back = to_published({key: value for key, value in from_published(state).items() if "position_i" not in key}, kind)
    assert {key: list(value.shape) for key, value in back.items()} == dict(names)


def test_what_the_model_computes_with_is_never_put_aside(published):
    for kind in TINY:
        unused = [name for name in from_published(random_state(published["tiny"][kind])) if name.startswith("unused.")]
        rest = {name.split(".")[1] + "." + name.split(".")[2] for name in unused}
        expected = {
            "XFM": {
                "text_encoder.lm_cap_head",
                "fusion_encoder.lm_cap_head",
                "fusion_encoder.roberta",
                "fusion_proj.weight",
                "fusion_proj.bias",
            },
            "XVLMForMLMCaptioning": {"crit_mask_lm_smoothed.one_hot"},
            "SwinTransformer": {"layers.0", "layers.1", "layers.2"},  # attn_mask
        }
        assert rest == expected.get(kind, set()), kind


def test_names_of_no_published_class_are_reported():
    with pytest.raises(CheckpointError, match=r"names are of no published class: foo, bar.*Known: XVLM, "):
        from_published({"foo": torch.zeros(1), "bar": torch.zeros(1)})


def test_a_misspelt_class_is_reported_with_the_nearest(published):
    state = random_state(published["tiny"]["XVLM"])
    with pytest.raises(CheckpointError, match=r"no published class 'XVLMForRetrival'.*Did you mean 'XVLMForRetrieval'"):
        from_published(state, kind="XVLMForRetrival")


def test_a_class_without_a_place_for_a_tensor_says_so(published):
    ours = from_published(random_state(published["tiny"]["XVLM"]))
    with pytest.raises(CheckpointError, match=r"SwinTransformer has no place for .* and \d+ more"):
        to_published(ours, "SwinTransformer")
