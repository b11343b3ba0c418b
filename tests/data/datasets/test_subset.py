import pytest

from x2vlm.data.datasets.subset import Subset
from x2vlm.data.record import RecordError


def names(row):
    return "abcdef"[row]


def test_a_subset_is_a_range_less_the_excluded_identities(tmp_path):
    (tmp_path / "ids.txt").write_text("b\n\n d \n")
    subset = Subset.of(dict(start=1, stop=5, exclude_ids=tmp_path / "ids.txt"))
    assert subset.indices(6, names).tolist() == [2, 4]


def test_without_options_all_records_are_used_and_no_identity_is_requested():
    assert Subset.of(None).indices(3, id_of=None).tolist() == [0, 1, 2]


def test_identities_may_be_given_in_the_config():
    assert Subset.of(dict(exclude_ids=["a", "c"])).indices(3, names).tolist() == [1]


def test_a_record_whose_identity_cannot_be_read_stays_to_be_reported_later():
    def id_of(row):
        raise RecordError("a:1", "broken")

    assert Subset(exclude_ids=["a"]).indices(2, id_of).tolist() == [0, 1]


@pytest.mark.parametrize("options", [dict(start=3, stop=3), dict(start=-1), dict(stop=0)])
def test_an_empty_range_is_refused(options):
    with pytest.raises(ValueError, match="expected 0 <= start < stop"):
        Subset.of(options)


def test_a_subset_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"no record is left: the data has 2"):
        Subset(start=2).indices(2, names)


def test_a_misspelt_subset_option_is_reported_with_the_closest_name():
    with pytest.raises(ValueError, match=r"no option 'stopp'\. Did you mean 'stop'\?"):
        Subset.of(dict(stopp=3))


def test_a_missing_list_of_identities_is_reported():
    with pytest.raises(FileNotFoundError, match=r"subset\.exclude_ids: .*gone\.txt"):
        Subset(exclude_ids="gone.txt").indices(2, names)
