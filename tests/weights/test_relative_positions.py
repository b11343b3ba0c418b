import pytest
import torch
from safetensors.torch import load_file

from x2vlm.weights.relative_positions import growing_distances, resize_relative_table

SIZES = [("res64", "res48"), ("res64", "res96"), ("res64", "res128"), ("res224", "res384"), ("res224", "res768")]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_tables_are_resized_to_the_recorded_numbers(source, target, shared):
    recorded = load_file(shared / "golden" / "j_pos_embed_interpolation.safetensors")
    grids = [(int(name[3:]) // 16,) * 2 for name in (source, target)]
    names = [name.split(".", 2)[2] for name in recorded if name.startswith(f"out.{target}.")]
    assert names
    for name in names:
        ours = resize_relative_table(recorded[f"in.{source}.{name}"], *grids)
        torch.testing.assert_close(ours, recorded[f"out.{target}.{name}"], atol=1e-5, rtol=1e-5)


def test_the_centre_and_the_rows_of_the_class_token_stay_what_they_are():
    table = torch.randn(7 * 7 + 3, 2)
    resized = resize_relative_table(table, (4, 4), (6, 6))
    assert resized.shape == (11 * 11 + 3, 2)
    assert torch.equal(resized[-3:], table[-3:])
    torch.testing.assert_close(resized[11 * 5 + 5], table[7 * 3 + 3])


def test_a_grid_that_is_not_square_is_resized_along_each_side():
    rows = torch.arange(7.0)[:, None].expand(7, 7).reshape(-1, 1)  # depends on the vertical distance only
    resized = resize_relative_table(torch.cat([rows, torch.zeros(3, 1)]), (4, 4), (6, 4))
    assert resized.shape == (11 * 7 + 3, 1)
    places = resized[:-3].view(11, 7)
    torch.testing.assert_close(places, places[:, :1].expand(11, 7), atol=1e-5, rtol=0)


def test_the_same_size_changes_nothing():
    table = torch.randn(3 * 3 + 3, 1)
    assert resize_relative_table(table, (2, 2), (2, 2)) is table


def test_distances_grow_from_the_centre_and_reach_the_edge():
    distances = growing_distances(27, 47)
    assert distances[13] == 0
    assert distances[14] == 1
    assert distances[-1] == pytest.approx(23, abs=1e-3)
    assert (distances[1:] > distances[:-1]).all()


def test_a_table_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="52 rows is not that of a 3 x 4 grid"):
        resize_relative_table(torch.zeros(52, 1), (3, 4), (6, 6))
