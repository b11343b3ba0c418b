import json

import pytest

from x2vlm.building import ConfigError
from x2vlm.data.inspection.image_identity import flickr_photo, image_identity, with_other_names


@pytest.mark.parametrize(
    ("record", "named_by", "name"),
    [
        ({"id": "7", "image": "val2014/COCO_val2014_000000391895.jpg"}, "coco", "coco:391895"),
        ({"id": "7", "image": "val2017/000000000139.jpg"}, "coco", "coco:139"),
        ({"id": "9", "image": b"..."}, "coco", "coco:9"),
        ({"id": "n161313", "image": "n161313.jpg"}, "vg", "vg:n161313"),
        ({"id": "3", "image": "1000092795.jpg"}, "flickr", "flickr:1000092795"),
        ({"id": "https://farm5.staticflickr.com/4/4385058960_b0f2.jpg"}, "web", "flickr:4385058960"),
        ({"id": "https://shop.example.org/4385058960_b0f2.jpg"}, "web", "https://shop.example.org/4385058960_b0f2.jpg"),
        ({"id": "0/a1", "own_id": "a1"}, "openimages", "openimages:a1"),
        ({"id": "0/a1", "own_id": "a1"}, None, "a1"),
    ],
)
def test_an_image_has_the_name_that_its_authority_gives_it(record, named_by, name):
    assert image_identity(record, named_by) == name


@pytest.mark.parametrize(
    ("address", "photo"),
    [
        ("http://static.flickr.com/2723/4385058960_b0f29_z.jpg", 4385058960),
        ("farm6.staticflickr.com/51/12_0a.jpg", 12),
        ("http://notflickr.example.org/51/12_0a.jpg", None),
        ("http://www.flickr.com/photos/12", None),
        (None, None),
    ],
)
def test_the_number_of_a_photograph_is_read_from_addresses_of_flickr_alone(address, photo):
    assert flickr_photo(address) == photo


def lists(folder):
    vg = [{"image_id": 1, "coco_id": 20, "flickr_id": None}, {"image_id": 2, "coco_id": None, "flickr_id": 300}]
    (folder / "image_data.json").write_text(json.dumps(vg))
    images = [{"id": 20, "flickr_url": "http://farm1.staticflickr.com/1/200_a.jpg"}, {"id": 30}]
    (folder / "captions.json").write_text(json.dumps({"info": {}, "images": images, "annotations": []}))
    rows = (
        "ImageID,OriginalURL\nf0,https://c1.staticflickr.com/5/300_b_o.jpg\nf1,https://c1.staticflickr.com/5/9_b.jpg\n"
    )
    (folder / "images.csv").write_text(rows)
    return {name: str(folder / file) for name, file in FILES.items()}


FILES = {"openimages": "images.csv", "vg": "image_data.json", "coco": "captions.json"}


def test_all_names_of_one_photograph_are_found_over_several_lists(tmp_path):
    names = with_other_names({"flickr:200": "a", "vg:2": "b"}, lists(tmp_path))
    assert names == {
        **dict.fromkeys(("flickr:200", "coco:20", "vg:1"), "a"),
        **dict.fromkeys(("vg:2", "flickr:300", "openimages:f0"), "b"),
    }


def test_a_list_of_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"same_images: there is no list 'cocos'\. Did you mean 'coco'"):
        with_other_names({}, {"cocos": "a.json"})


def test_a_list_without_addresses_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("ImageID,Title\n")
    with pytest.raises(ValueError, match="has no column OriginalURL"):
        with_other_names({"vg:1": ""}, {"openimages": str(tmp_path / "a.csv")})
