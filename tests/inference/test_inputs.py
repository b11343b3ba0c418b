"""An image is the same in whatever form it comes."""

import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from x2vlm.data.record import RecordError
from x2vlm.inference.inputs import as_image, images_in


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_paths_bytes_files_images_arrays_and_tensors_give_the_same(array, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png(array))
    forms = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.fromarray(array), array]
    forms += [array.astype(np.float32) / 255, torch.from_numpy(array).permute(2, 0, 1)]
    forms += [torch.from_numpy(array).permute(2, 0, 1) / 255, np.dstack([array, array[:, :, :1]])]
    for form in forms:
        assert np.array_equal(as_image(form), array), type(form)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_a_pillow_image_is_as_its_file(mode, tmp_path):
    levels = np.arange(54, dtype=np.float32).reshape(6, 9) * 1000
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16))
    elif mode == "F":
        image = Image.fromarray(levels)
    else:
        image = Image.fromarray((levels / 256).astype(np.uint8)).convert("RGB").convert(mode)
    image.save(tmp_path / "image.tiff")
    expected = as_image(tmp_path / "image.tiff")
    assert len(np.unique(expected)) > 1
    assert np.array_equal(as_image(Image.open(tmp_path / "image.tiff")), expected)


def test_a_pillow_image_of_a_broken_file_is_refused_as_the_file_is(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "image.jpg")
    data = (tmp_path / "image.jpg").read_bytes()
    (tmp_path / "image.jpg").write_bytes(data[: len(data) // 2])
    for form in (tmp_path / "image.jpg", Image.open(tmp_path / "image.jpg")):
        with pytest.raises(RecordError, match="cannot be decoded: image file is truncated"):
            as_image(form)


def test_grey_arrays_become_rgb(array):
    assert np.array_equal(as_image(array[:, :, 0]), array[:, :, :1].repeat(3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright_whatever_the_camera_noted(array, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = png(array, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(stored))))
    (tmp_path / "photo.png").write_bytes(stored)
    for form in (stored, tmp_path / "photo.png", Image.open(io.BytesIO(stored))):
        assert np.array_equal(as_image(form), expected)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (3, "given int"),
        (None, "given NoneType"),
        (np.zeros((2, 3, 5), np.uint8), r"given \[2, 3, 5\]"),
        (np.zeros((2, 2, 3), np.int64), "given int64"),
        (np.full((2, 2, 3), 2.0), "values in 0..1"),
        (np.full((2, 2, 3), np.nan), "values in 0..1"),
        (torch.zeros(2, 4, 4), r"given \[2, 4, 4\]"),
        (io.StringIO("text"), "mode 'rb'"),
        ("clip.mp4", "is a video"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(form, message):
    with pytest.raises(ValueError, match=message):
        as_image(form)


def test_broken_and_missing_files_are_named(tmp_path):
    with pytest.raises(RecordError, match="broken"):
        as_image(b"nonsense")
    with pytest.raises(RecordError, match=r"gone\.png"):
        as_image(tmp_path / "gone.png")


def test_an_address_is_fetched_only_if_asked_for(array):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png(array))

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/image.png"
    with pytest.raises(ValueError, match="urls=True"):
        as_image(address)
    assert np.array_equal(as_image(address, urls=True), array)
    server.shutdown()
    server.server_close()
    with pytest.raises(ValueError, match="cannot be fetched"):
        as_image(address, urls=True)


def test_a_folder_gives_its_images_sorted_and_without_hidden_ones(tmp_path):
    for name in ("b.png", "a.JPG", "inner/c.webp", ".hidden/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(path.relative_to(tmp_path)) for path in images_in(tmp_path)] == ["a.JPG", "b.png", "inner/c.webp"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        images_in(tmp_path / "empty")
    with pytest.raises(ValueError, match="is no folder"):
        images_in(tmp_path / "nowhere")
