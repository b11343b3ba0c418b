"""Building parts from configs, and the errors where that fails."""

import pytest
from mmengine.config import ConfigDict
from mmengine.config.lazy import LazyObject
from mmengine.registry import Registry

from x2vlm.argument_checks import argument_problems, arguments, suggestion
from x2vlm.building import ConfigError, build, resolve
from x2vlm.registry import HOOKS, METRICS, VISION_ENCODERS


class Tower:
    def __init__(self, width, depth=2):
        self.width, self.depth = width, depth


class Deep(Tower):
    def __init__(self, patch_size=16, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size


class Fixed(Tower):
    def __init__(self, bias=True, **kwargs):
        super().__init__(8, **kwargs)


class Greedy(Tower):
    def __init__(self, **kwargs):
        self.rest = kwargs.pop("anything", None)
        super().__init__(**kwargs)


class Angry:
    def __init__(self, size=1):
        raise ValueError(f"size {size} is not a multiple of 16")


class Lost:
    def __init__(self):
        raise FileNotFoundError("train.jsonl does not exist")


class Outer:
    def __init__(self, inner, own_path):
        self.inner = build(towers, inner, own_path)


towers = Registry("tower", scope="x2vlm")
for part in (Tower, Deep, Fixed, Greedy, Angry, Lost, Outer):
    towers.register_module(module=part)


def failure(cfg, path="model.tower", **defaults):
    with pytest.raises(ConfigError) as caught:
        build(towers, cfg, path, **defaults)
    return str(caught.value)


def test_a_registered_name_is_built_with_its_arguments():
    built = build(towers, dict(type="Deep", width=8, patch_size=4))
    assert (type(built), built.width, built.depth, built.patch_size) == (Deep, 8, 2, 4)


@pytest.mark.parametrize("type_", [Tower, "Tower", "x2vlm.Tower", LazyObject("fractions", "Fraction")])
def test_a_type_is_a_name_a_scoped_name_a_class_or_an_import(type_):
    given = {"width": 8} if not isinstance(type_, LazyObject) else {"numerator": 8}
    assert build(towers, dict(type=type_, **given)) is not None


def test_a_dotted_path_need_not_be_registered():
    assert build(towers, dict(type="fractions.Fraction", numerator=3)) == 3


def test_the_dict_is_left_as_it_was():
    cfg = dict(type="Tower", width=8)
    build(towers, cfg, depth=5)
    assert cfg == dict(type="Tower", width=8)


def test_what_is_built_already_passes_through():
    tower = Tower(8)
    assert build(towers, tower) is tower


def test_derived_values_fill_only_what_the_constructor_names_and_the_config_does_not():
    built = build(towers, dict(type="Deep", depth=3), width=8, depth=9, vocab_size=100)
    assert (built.width, built.depth) == (8, 3)


def test_a_misspelt_argument_is_named_with_its_place_and_the_closest_name():
    with pytest.raises(
        ConfigError, match=r"model\.tower: Deep has no argument 'dept'.*'depth'.*Accepted: depth, patch"
    ):
        build(towers, dict(type="Deep", width=8, dept=3), "model.tower")


def test_a_misspelt_argument_of_a_real_encoder_is_named():
    with pytest.raises(ConfigError, match=r"model\.vision_encoder: BEiT2 has no argument 'dept'.*'depth'"):
        build(VISION_ENCODERS, dict(type="BEiT2", dept=3), path="model.vision_encoder")


def test_every_wrong_and_missing_argument_is_reported_at_once():
    message = failure(dict(type="Deep", dept=3, patch=4))
    assert all(word in message for word in ("'dept'", "'patch'", "needs the argument 'width'"))


def test_an_unknown_type_is_named_with_the_closest_one_and_all_there_are():
    message = failure(dict(type="tower"))
    assert message.startswith(
        "model.tower: 'tower' is not a registered tower. Did you mean 'Tower'? Registered: Angry,"
    )


def test_a_missing_type_lists_what_there_is():
    assert "no 'type' says which tower it is. Registered: Angry" in failure(dict(width=8))


@pytest.mark.parametrize("wrong", [None, "Tower", 3, [], Tower])
def test_what_is_neither_a_dict_nor_built_is_refused(wrong):
    assert "expected dict(type=...) or a built tower" in failure(wrong)


def test_a_constructor_keeps_its_own_words_behind_the_path():
    message = failure(dict(type="Angry", size=3))
    assert message == "model.tower: Angry could not be built: size 3 is not a multiple of 16"


def test_the_constructors_error_is_the_cause():
    with pytest.raises(ConfigError) as caught:
        build(towers, dict(type="Angry"))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_missing_file_stays_a_missing_file_with_the_path_in_front():
    with pytest.raises(FileNotFoundError, match=r"^streams\.image\.dataset: train\.jsonl does not exist$"):
        build(towers, dict(type="Lost"), "streams.image.dataset")


@pytest.mark.parametrize("own_path", ["inner", "model.tower.inner"])
def test_a_part_inside_a_part_has_one_whole_path(own_path):
    message = failure(dict(type="Outer", inner=dict(type="Towr"), own_path=own_path))
    assert message.startswith("model.tower.inner: 'Towr' is not")


def test_a_list_index_joins_without_a_dot():
    message = failure(dict(type="Outer", inner=dict(type="Towr"), own_path="[2]"))
    assert message.startswith("model.tower[2]: ")


def test_a_misspelt_import_in_a_config_is_named_with_its_line():
    cfg = ConfigDict(type=LazyObject("fractions", "Fractoin", "configs/x.py, line 7"))
    assert failure(cfg) == "model.tower: configs/x.py, line 7: fractions has no 'Fractoin'. Did you mean 'Fraction'?"


def test_an_import_from_a_module_that_is_not_there_is_named():
    message = failure(ConfigDict(type=LazyObject("no_such_package.towers", "Tower", "configs/x.py, line 7")))
    assert "configs/x.py, line 7: no_such_package.towers cannot be imported" in message


def test_a_relative_import_of_a_part_is_explained():
    assert "Outside read_base(), write the module's full name" in failure(
        ConfigDict(type=LazyObject(".towers", "Tower"))
    )


def test_an_error_inside_a_named_module_is_reported(tmp_path, monkeypatch):
    (tmp_path / "module_that_breaks.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "'module_that_breaks.Tower' cannot be imported: division by zero" in failure(
        dict(type="module_that_breaks.Tower")
    )


def test_parts_of_mmengine_are_found_by_name():
    assert resolve(HOOKS, "LoggerHook").__module__ == "mmengine.hooks.logger_hook"


def test_names_of_one_family_are_not_those_of_another():
    with pytest.raises(ConfigError, match="'BEiT2' is not a registered metric"):
        resolve(METRICS, "BEiT2")


def test_arguments_that_are_handed_up_are_those_of_the_base():
    named, is_open = arguments(Deep)
    assert (sorted(named), is_open) == (["depth", "patch_size", "width"], False)


def test_arguments_that_a_class_fills_itself_cannot_be_given():
    assert sorted(arguments(Fixed)[0]) == ["bias", "depth"]


def test_a_class_that_keeps_other_arguments_accepts_any():
    assert argument_problems(Greedy, ["anything", "width"]) == []


def test_a_function_with_open_arguments_accepts_any():
    assert argument_problems(lambda **rest: rest, ["anything"]) == []


@pytest.mark.parametrize(
    ("given", "nearest"), [("dept", " Did you mean 'depth'?"), ("DEPTH", " Did you mean 'depth'?"), ("zzz", "")]
)
def test_the_nearest_name_does_not_mind_case(given, nearest):
    assert suggestion(given, ["depth", "width"]) == nearest


def test_of_names_that_differ_in_case_the_nearer_is_suggested():
    assert suggestion("BEiT3", ["beit2", "BEiT2"]) == " Did you mean 'BEiT2'?"
