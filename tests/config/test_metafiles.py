"""OpenMMLab's index names every config of the tree, and every published number as the table has it."""

import yaml

import x2vlm
from x2vlm.config.metafiles import INDEX, metafiles
from x2vlm.config.published_numbers import NUMBERS, read_numbers


def test_the_files_are_those_that_the_tree_gives(root):
    stale = [name for name, text in metafiles(root).items() if (root / name).read_text("utf-8") != text]
    assert not stale, f"{', '.join(stale)}: write them anew by `python tools/metafiles.py`"
    on_disk = {path.relative_to(root).as_posix() for path in root.glob("configs/**/metafile.yml")}
    assert on_disk == set(metafiles(root)) - {INDEX}


def test_the_index_leads_to_every_model_under_its_name(root):
    imported = yaml.safe_load((root / INDEX).read_text())["Import"]
    entries = [yaml.safe_load((root / name).read_text()) for name in imported]
    models = [model for entry in entries for model in entry["Models"]]
    assert sorted(model["Name"] for model in models) == x2vlm.list_models()
    assert all((root / model["Config"]).is_file() for model in models)
    for entry in entries:
        known = {collection["Name"] for collection in entry["Collections"]}
        assert {model["In Collection"] for model in entry["Models"]} == known


def test_published_numbers_stand_with_their_config(root):
    texts = metafiles(root)
    models = {one["Config"]: one for text in texts.values() for one in yaml.safe_load(text).get("Models", ())}
    for number in read_numbers(root / NUMBERS):
        if number.config in models:
            settings = models[number.config]["Metadata"]["Published Settings"]
            assert all(settings[key] == number.published for key in number.keys)


def test_a_new_config_makes_the_file_stale(root, tmp_path):
    (tmp_path / "configs" / "demo").mkdir(parents=True)
    (tmp_path / NUMBERS).write_text("rate\tconfigs/demo/mine.py\toptim_wrapper.optimizer.lr\t0.5\n")
    (tmp_path / "configs" / "demo" / "mine.py").write_text('"""A model.\n\nMore."""\n')
    (model,) = yaml.safe_load(metafiles(tmp_path)["configs/demo/metafile.yml"])["Models"]
    assert model == {
        "Name": "demo/mine",
        "In Collection": "Small models",
        "Config": "configs/demo/mine.py",
        "Metadata": {"Description": "A model.", "Published Settings": {"optim_wrapper.optimizer.lr": 0.5}},
    }
