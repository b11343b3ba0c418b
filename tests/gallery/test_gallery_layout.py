"""Options of what a gallery stores, and how records are split into shards."""

import pytest

from x2vlm.gallery.gallery_layout import GalleryStorage, shard_ranges


@pytest.mark.parametrize("wrong", [dict(part_records=0), dict(context_tokens="int8"), dict(text_tokens="half")])
def test_storage_options_that_do_not_exist_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*expected"):
        GalleryStorage(**wrong)


def test_shards_hold_whole_batches():
    assert shard_ranges(10, 2, GalleryStorage(part_records=3)) == [range(0, 4), range(4, 8), range(8, 10)]
