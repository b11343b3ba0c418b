"""The REST API answers as the model does, and refuses in a sentence."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image


@pytest.fixture
def client(service):
    from fastapi.testclient import TestClient

    from x2vlm.app.server import create_app

    return TestClient(create_app(service, page=False))


def post(client, path, image=None, **form):
    files = None if image is None else {"image": ("image.png", image, "image/png")}
    return client.post(f"/api/{path}", data=form, files=files)


def test_matches_boxes_and_maps_are_those_of_the_model(client, service, folder):
    image = (folder / "0.png").read_bytes()
    texts = ["a red circle", "a blue square"]
    expected = service.inferencer.match(image, texts)
    assert post(client, "match", image, text=texts).json() == [one.to_dict() for one in expected]
    (box,) = post(client, "ground", image, text="a red circle", candidates=2).json()
    assert box == service.inferencer.ground(image, "a red circle", candidates=2).to_dict()
    answer = post(client, "explain", image, text="a red circle", word="circle", method="attention", picture=True).json()
    assert Image.open(io.BytesIO(base64.b64decode(answer["png"]))).size == (30, 20)


def test_the_folder_is_searched_and_its_index_kept(client, service, folder, tmp_path):
    found = post(client, "search", text="a red circle", k=2).json()
    assert found == [one.to_dict() for one in service.search("a red circle", 2)]
    assert (tmp_path / "index" / "images.safetensors").is_file()


def test_the_model_is_described(client):
    assert client.get("/api/health").json() == {"status": "ok"}
    described = client.get("/api/model").json()
    assert described["searchable_images"] == 3
    assert "ground" in described["tasks"]
    paths = client.get("/openapi.json").json()["paths"]
    assert all(how.get("description") or how.get("summary") for path in paths.values() for how in path.values())


@pytest.mark.parametrize(
    ("path", "image", "form", "status", "message"),
    [
        ("match", b"nonsense", {"text": "a cat"}, 400, "broken"),
        ("match", b"", {"text": "a cat"}, 400, "empty"),
        ("match", None, {"text": "  "}, 400, "one text or more"),
        ("match", None, {"text": "a" * 2000}, 400, "2000 characters"),
        ("match", None, {"text": ["a cat"] * 200}, 400, "limit of 100"),
        ("answer", None, {"text": "what?"}, 400, "cannot answer"),
        ("explain", None, {"text": "a circle", "word": "square"}, 400, "does not hold 'square'"),
        ("match", None, {"text": "?!"}, 400, "nothing is left"),
        ("ground", None, {"text": "a cat", "candidates": "99"}, 422, "less than or equal to 16"),
        ("match", b"0" * (33 * 2**20), {"text": "a cat"}, 413, "limit of 32 MiB"),
    ],
)
def test_what_cannot_be_answered_is_told(client, folder, path, image, form, status, message):
    answer = post(client, path, (folder / "0.png").read_bytes() if image is None else image, **form)
    assert answer.status_code == status
    assert message in answer.text


def test_ten_people_at_once_get_their_own_answers(client, service, folder):
    images = [(folder / f"{number}.png").read_bytes() for number in range(3)]
    expected = [service.inferencer.match(image, "a red circle")[0].to_dict() for image in images]

    def ask(number):
        return post(client, "match", images[number % 3], text="a red circle").json()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(30)))
    assert answers == [[expected[number % 3]] for number in range(30)]


def test_beyond_the_limit_people_are_asked_to_come_again(client, service, folder, monkeypatch):
    monkeypatch.setattr("x2vlm.app.service.MAX_WAITING", 0)
    answer = post(client, "match", (folder / "0.png").read_bytes(), text="a cat")
    assert answer.status_code == 503
    assert "try again" in answer.json()["error"]


def test_without_a_folder_there_is_nothing_to_search(cfg, checkpoint):
    pytest.importorskip("gradio")
    from x2vlm.app.service import BadRequestError, Service
    from x2vlm.inference import Inferencer

    with pytest.raises(BadRequestError, match="no folder"):
        Service(Inferencer.from_checkpoint(cfg, checkpoint)).search("a cat")


def test_the_page_serves_what_it_shows_and_nothing_beside_it(service, folder):
    from fastapi.testclient import TestClient

    from x2vlm.app.server import create_app

    (folder / "private.txt").write_text("secret")
    client = TestClient(create_app(service, [folder / "0.png"]))
    for name, status in (("0.png", 200), ("1.png", 403), ("private.txt", 403)):
        assert client.get(f"/gradio_api/file={folder / name}").status_code == status
    assert client.get("/").headers["content-security-policy"].startswith("default-src 'self'")
