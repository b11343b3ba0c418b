"""Structs of MATLAB files, as scipy writes them; damaged ones are told and end nothing."""

import io
import random

import numpy as np
import pytest
from scipy.io import savemat

from x2vlm.data.io.row_readers.matlab_structs import read_structs


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def data(request):
    kinds = [("ID", object), ("WNID", object), ("children", object)]
    rows = np.array([(1.0, "n01", np.zeros((0, 0))), (np.uint8(2), "Käse", np.array([3, 4]))], dtype=kinds)
    file = io.BytesIO()
    savemat(file, {"other": np.eye(3), "synsets": rows.reshape(-1, 1)}, do_compression=request.param)
    return file.getvalue()


def test_texts_and_numbers_of_structs_are_read(data):
    expected = [dict(ID=1, WNID="n01", children=None), dict(ID=2, WNID="Käse", children=None)]
    assert read_structs(data, "synsets") == expected


@pytest.mark.parametrize("name, reason", [("other", "no array of structs called 'other'"), ("x", "called 'x'")])
def test_another_name_or_kind_is_told(data, name, reason):
    with pytest.raises(ValueError, match=reason):
        read_structs(data, name)


def test_damaged_files_raise_value_errors_and_nothing_else(data):
    rng, refused = random.Random(0), 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            read_structs(bytes(damaged[: rng.randrange(len(damaged))] if rng.random() < 0.2 else damaged), "synsets")
        except ValueError:
            refused += 1
    assert refused > 100
