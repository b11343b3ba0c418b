from dataclasses import dataclass

import pytest

from x2vlm.data.options import check_names, from_options


@dataclass(frozen=True)
class Crop:
    side: int = 4
    keep: bool = True


def test_a_dict_makes_the_dataclass_and_nothing_its_defaults():
    assert from_options(Crop, dict(side=8), "crop") == Crop(side=8)
    assert from_options(Crop, None, "crop") == Crop()


def test_an_instance_is_returned_as_it_is():
    crop = Crop(side=2)
    assert from_options(Crop, crop, "crop") is crop


def test_an_unknown_option_is_named_with_the_closest_and_all_accepted_ones():
    with pytest.raises(ValueError, match=r"^crop has no option 'sied'\. Did you mean 'side'\? Accepted: side, keep\.$"):
        from_options(Crop, dict(sied=8), "crop")


def test_a_name_that_is_not_accepted_is_refused_and_others_are_not():
    check_names(["red"], ["red", "blue"], "colors has no")
    with pytest.raises(ValueError, match=r"^colors has no 'bleu'\. Did you mean 'blue'\? Accepted: red, blue\.$"):
        check_names(["red", "bleu"], ["red", "blue"], "colors has no")
