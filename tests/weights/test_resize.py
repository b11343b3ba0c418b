"""Tensors made to fit another size."""

import torch
from torch.nn.functional import interpolate

from x2vlm.weights.relative_positions import resize_relative_table
from x2vlm.weights.resize import fit, resize_absolute_table


def test_absolute_positions_are_resized_bicubically_and_the_class_tokens_is_copied():
    torch.manual_seed(0)
    table = torch.randn(1 + 16, 8)
    fitted = fit("vision_encoder.positions.weight", table, torch.zeros(1 + 36, 8)).value
    grid = table[1:].reshape(4, 4, 8).permute(2, 0, 1)[None]
    expected = interpolate(grid, size=(6, 6), mode="bicubic", align_corners=False)[0].permute(1, 2, 0).reshape(36, 8)
    torch.testing.assert_close(fitted[1:], expected)
    assert torch.equal(fitted[0], table[0])


def test_a_vits_positions_with_or_without_class_token_are_resized():
    for extra in (0, 1):
        table = torch.randn(1, extra + 16, 8)
        fitted = fit("vision_encoder.net.pos_embed", table, torch.zeros(1, extra + 4, 8)).value
        assert fitted.shape == (1, extra + 4, 8)
        assert torch.equal(fitted[0], resize_absolute_table(table[0], (4, 4), (2, 2)))


def test_absolute_positions_follow_a_grid_that_is_not_square():
    table = torch.randn(1 + 16, 8)
    fitted = fit("vision_encoder.positions.weight", table, torch.zeros(1 + 24, 8), grid=(4, 6)).value
    assert torch.equal(fitted, resize_absolute_table(table, (4, 4), (4, 6)))


def test_swins_tables_have_no_extra_rows():
    table = torch.randn(7 * 7, 2)
    fitted = fit("net.layers.0.blocks.0.attn.relative_position_bias_table", table, torch.zeros(9 * 9, 2)).value
    with_rows = torch.cat([table, torch.zeros(3, 2)])
    assert torch.equal(fitted, resize_relative_table(with_rows, (4, 4), (5, 5))[:-3])


def test_the_type_of_numbers_is_kept():
    table = torch.randn(7 * 7 + 3, 2, dtype=torch.float16)
    fitted = fit("x.relative_position_bias_table", table, torch.zeros(9 * 9 + 3, 2)).value
    assert fitted.dtype == torch.float16


def test_what_has_no_rule_does_not_fit():
    assert fit("text_proj.weight", torch.zeros(2, 3), torch.zeros(3, 3)) is None
    assert fit("x.relative_position_bias_table", torch.zeros(52, 4), torch.zeros(124, 8)) is None  # other heads
    assert fit("x.relative_position_bias_table", torch.zeros(50, 4), torch.zeros(124, 4)) is None  # of no grid
    assert fit("vision_encoder.net.pos_embed", torch.zeros(1, 17, 8), torch.zeros(1, 17, 16)) is None  # another width


def test_positions_of_a_file_that_are_no_square_are_resized_if_their_grid_is_given():
    table = torch.randn(1 + 4 * 9, 3)
    wanted = torch.zeros(1 + 5 * 5, 3)
    square = fit("vision_encoder.net.pos_embed", table, wanted)  # 36 places look like 6 x 6
    given = fit("vision_encoder.net.pos_embed", table, wanted, source_grid=(4, 9))
    torch.testing.assert_close(given.value, resize_absolute_table(table, (4, 9), (5, 5)))
    assert not torch.equal(given.value, square.value)


def test_relative_tables_of_a_file_that_are_no_square_need_their_grid():
    table, wanted = torch.randn(7 * 5 + 3, 2), torch.zeros(9 * 9 + 3, 2)
    name = "vision_encoder.net.blocks.0.attn.relative_position_bias_table"
    assert fit(name, table, wanted) is None
    found = fit(name, table, wanted, source_grid=(4, 3)).value
    torch.testing.assert_close(found, resize_relative_table(table, (4, 3), (5, 5), 3))
