"""The REST API: an image and texts as a form, JSON back. One request, one answer."""

import base64
import io
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from x2vlm.app.service import MAX_CANDIDATES, MAX_UPLOAD_BYTES, BadRequestError, BusyError, Service, checked_texts

Image = Annotated[UploadFile, File(description="an image file: JPEG, PNG, WebP, BMP, GIF, TIFF")]
Texts = Annotated[list[str], Form(description="one text, or the field several times")]


def router_of(service: Service) -> APIRouter:
    """The routes below ``/api``."""
    router = APIRouter(prefix="/api")

    @router.get("/health")
    def health() -> dict[str, Any]:
        """Whether the service runs."""
        return {"status": "ok"}

    @router.get("/model")
    def model() -> dict[str, Any]:
        """What the model can do."""
        return service.describe()

    @router.post("/match")
    async def match(image: Image, text: Texts) -> Any:
        """Which of the texts fits the image."""
        return await _answer(service, image, lambda i, data: _plain(i.match(data, checked_texts(text))))

    @router.post("/ground")
    async def ground(
        image: Image,
        text: Texts,
        candidates: Annotated[int, Form(ge=1, le=MAX_CANDIDATES)] = 1,
        threshold: Annotated[float, Form(ge=0, le=1)] = 0.0,
    ) -> Any:
        """Where in the image is what each text describes."""
        return await _answer(
            service, image, lambda i, data: _plain(i.ground(data, checked_texts(text), candidates, threshold))
        )

    @router.post("/answer")
    async def answer(image: Image, text: Texts, candidate: Annotated[list[str] | None, Form()] = None) -> Any:
        """Answers to questions about the image; chosen among ``candidate``, if there are any."""
        return await _answer(
            service, image, lambda i, data: _plain(i.answer(data, checked_texts(text), candidate or None))
        )

    @router.post("/caption")
    async def caption(image: Image) -> Any:
        """A caption."""
        return await _answer(service, image, lambda i, data: i.caption(data).to_dict())

    @router.post("/explain")
    async def explain(
        image: Image,
        text: Annotated[str, Form()],
        word: Annotated[str | None, Form()] = None,
        method: Annotated[str, Form()] = "gradcam",
        picture: Annotated[bool, Form(description="also the map over the image, as PNG in base64")] = False,
    ) -> Any:
        """Which parts of the image the text rests on."""

        def work(inferencer: Any, data: bytes) -> dict[str, Any]:
            found = inferencer.explain(data, *checked_texts([text]), word or None, method=method)
            return found.to_dict() | ({"png": _png(found.draw())} if picture else {})

        return await _answer(service, image, work)

    @router.post("/search")
    async def search(text: Annotated[str, Form()], k: Annotated[int, Form(ge=1, le=100)] = 10) -> Any:
        """The images of the folder that the text describes."""
        return await _guarded(lambda: _plain(service.search(text, k)))

    return router


async def _answer(service: Service, image: UploadFile, work: Callable[[Any, bytes], Any]) -> Any:
    data = await image.read(MAX_UPLOAD_BYTES + 1)
    if len(data) > MAX_UPLOAD_BYTES:
        return _error(413, f"the image is larger than the limit of {MAX_UPLOAD_BYTES // 2**20} MiB.")
    return await _guarded(lambda: service.ask(lambda inferencer: work(inferencer, data)))


async def _guarded(work: Callable[[], Any]) -> Any:
    """In a thread, so that others are served meanwhile; errors of who asked become answers."""
    try:
        return await run_in_threadpool(work)
    except BadRequestError as error:
        return _error(400, str(error))
    except BusyError as error:
        return _error(503, str(error))


def too_large(request: Request) -> JSONResponse | None:
    """A refusal of requests that say themselves that they are too large, before they are read."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_UPLOAD_BYTES + 2**20:
        return _error(413, f"the request is larger than the limit of {MAX_UPLOAD_BYTES // 2**20} MiB.")
    return None


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=status)


def _plain(results: list[Any]) -> list[dict[str, Any]]:
    return [one.to_dict() for one in results]


def _png(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
