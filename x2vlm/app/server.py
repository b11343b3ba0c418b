"""The server: the REST API, and the page on top of it. It fetches nothing and sends nothing anywhere."""

import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response

from x2vlm import __version__
from x2vlm.app.rest_routes import router_of, too_large
from x2vlm.app.service import MAX_UPLOAD_BYTES, Service
from x2vlm.app.web_page import page_of, theme

# What the page may load: itself. Gradio's template names scripts and fonts of other hosts; a browser then skips them.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; frame-ancestors 'self'"
)


def create_app(service: Service, examples: Sequence[Path] = (), page: bool = True) -> FastAPI:
    """The application, for any ASGI server.

    Args:
        service: The model.
        examples: Images to click on.
        page: The page as well; else the REST API alone.
    """
    app = FastAPI(title="x2vlm", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(router_of(service))

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = too_large(request)
        if refused is not None:
            return refused
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    if page:
        blocks = page_of(service, examples).queue(max_size=64, default_concurrency_limit=10)
        blocks.has_launched = True  # of a page that is only mounted, gradio takes any file of the server as an upload
        app = gr.mount_gradio_app(
            app,
            blocks,
            path="/",
            theme=theme(),
            max_file_size=MAX_UPLOAD_BYTES,
            allowed_paths=[str(Path(path).resolve()) for path in examples],  # these files, not their folders
            show_error=True,
        )
    return app


def serve(app: Any, host: str, port: int) -> None:
    """Serve until it is interrupted."""
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=5)


def example_images(count: int = 4) -> list[Path]:
    """Scenes of the toy world as files, for a model that learned from it."""
    from PIL import Image

    from x2vlm.data.toy.world import ToyWorld

    world = ToyWorld(num_scenes=count, split="test", image_size=224)
    folder = Path(tempfile.mkdtemp(prefix="x2vlm-examples-"))
    files = []
    for number in range(count):
        files.append(folder / f"scene_{number}.png")
        Image.fromarray(world.record(number)["image"]).save(files[-1])
    return files
