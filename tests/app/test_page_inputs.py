"""What the page hands to the model is the file that was given, and what it says is for who gave it."""

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio")


@pytest.fixture
def page(service):
    from x2vlm.app.web_page import page_of

    return page_of(service)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_a_file_reaches_the_model_as_it_was_given(page, tmp_path, mode):
    from gradio.data_classes import ImageData

    file = tmp_path / ("photo.jpg" if mode in ("L", "CMYK") else "photo.png")
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(file)
    uploads = [block for block in page.blocks.values() if isinstance(block, gr.Image) and block.label == "Image"]
    assert uploads
    for upload in uploads:
        assert upload.preprocess(ImageData(path=str(file), orig_name=file.name)) == str(file)


def test_a_broken_file_is_refused_without_naming_a_folder_of_the_server(page, tmp_path):
    from gradio.data_classes import ImageData

    file = tmp_path / "photo.jpg"
    file.write_bytes(b"no image")
    match = next(function for function in page.fns.values() if function.api_name == "match")
    given = match.inputs[0].preprocess(ImageData(path=str(file), orig_name=file.name))
    with pytest.raises(gr.Error, match="image of 8 bytes is broken or not one of JPEG"):
        match.fn(given, "a red circle")
    with pytest.raises(gr.Error, match="give an image first"):
        match.fn(match.inputs[0].preprocess(None), "a red circle")


def test_images_that_were_found_are_named(page, folder):
    functions = {function.api_name: function.fn for function in page.fns.values()}
    shown = [caption.split() for _, caption in functions["search"]("a red circle")]
    assert {name for _, name in shown} == {file.name for file in folder.iterdir()}
