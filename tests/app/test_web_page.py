"""The page in a real browser: a person points, matches and searches, and nothing is fetched from elsewhere."""

import shutil
import threading
import time

import pytest

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]


@pytest.fixture
def address(service, folder):
    import uvicorn

    from x2vlm.app.server import create_app

    app = create_app(service, sorted(folder.iterdir()))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in range(600):
        if server.started:
            break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def page():
    sync_api = pytest.importorskip("playwright.sync_api")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        tab = running.new_page(viewport={"width": 1200, "height": 900})
        tab.set_default_timeout(60_000)
        tab.foreign = []
        tab.on(
            "request",
            lambda r: None if r.url.startswith(("http://127.", "data:", "blob:")) else tab.foreign.append(r.url),
        )
        yield tab
        running.close()


def test_a_person_searches_points_and_matches(address, page, folder):
    page.goto(address)
    page.get_by_label("Text", exact=True).first.fill("a red circle")
    page.get_by_role("button", name="Search").click()
    page.locator(".gallery-item, .thumbnail-item").first.wait_for()

    page.get_by_role("tab", name="Point").click()
    page.locator("input[type=file]:visible, input[type=file]").first.set_input_files(str(folder / "0.png"))
    page.get_by_label("Phrases, one a line").fill("a red circle")
    page.get_by_role("button", name="Point", exact=True).click()
    page.get_by_text("image_probability").wait_for()

    page.get_by_role("tab", name="Match").click()
    page.get_by_role("button", name="Match", exact=True).first.click()
    page.get_by_text("give an image first").first.wait_for()
    assert page.foreign == []


def test_a_file_that_nobody_uploaded_is_not_read(address, folder, tmp_path):
    import httpx

    (tmp_path / "private.png").write_bytes((folder / "0.png").read_bytes())
    for path in (tmp_path / "private.png", folder / "0.png"):
        upload = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        calls = f"{address}/gradio_api/call/match"
        event = httpx.post(calls, json={"data": [upload, "a red circle"]}).json()["event_id"]
        answer = httpx.get(f"{calls}/{event}", timeout=60).text
        assert answer.startswith("event: error")
        assert "a red circle" not in answer
