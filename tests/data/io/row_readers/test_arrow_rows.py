import pytest

from x2vlm.data.io.row_readers.arrow_rows import ArrowRows
from x2vlm.data.record import RecordError

pyarrow = pytest.importorskip("pyarrow")


@pytest.mark.parametrize("kind", ["string", "binary", "list"])
def test_an_offset_that_points_anywhere_costs_its_rows_and_not_the_process(tmp_path, kind):
    cells = [[n, n + 1] for n in range(4)] if kind == "list" else ["cat", "dog", "bird", "fish"]
    cells = [cell.encode() for cell in cells] if kind == "binary" else cells
    table = pyarrow.table({"cells": cells})
    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    data = bytearray((tmp_path / "a.arrow").read_bytes())
    ends = [0, 2, 4, 6, 8] if kind == "list" else [0, 3, 6, 10, 14]
    place = data.index(b"".join(end.to_bytes(4, "little") for end in ends))
    data[place + 12 : place + 16] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "a.arrow").write_bytes(data)
    rows = ArrowRows(tmp_path / "a.arrow")
    assert rows.read(0) == {"cells": cells[0]}
    assert rows.read(1) == {"cells": cells[1]}
    for row in (2, 3):
        with pytest.raises(RecordError, match=rf"a\.arrow\[{row}\]: its rows cannot be read: "):
            rows.read(row)
