"""The page: a tab for each thing the model can do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from x2vlm.app.service import MAX_CANDIDATES, BadRequestError, BusyError, Service, checked_texts

FONT = ["system-ui", "sans-serif"]  # the themes' own fonts are fetched from elsewhere
TITLE = "X2-VLM"
THUMBNAIL = 512  # pixels of the longer side


def page_of(service: Service, examples: Sequence[Path] = ()) -> gr.Blocks:
    """The page.

    Args:
        service: The model.
        examples: Images to click on.
    """
    tabs = {
        "retrieve": ("Search", _search_tab),
        "ground": ("Point", _ground_tab),
        "match": ("Match", _match_tab),
        "answer": ("Ask", _answer_tab),
        "caption": ("Caption", _caption_tab),
        "explain": ("Explain", _explain_tab),
    }
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(f"# {TITLE}\nThis model can: {', '.join(service.inferencer.tasks)}.")
        with gr.Tabs():
            for task, (name, fill) in tabs.items():
                if task in service.inferencer.tasks and (task != "retrieve" or service.index is not None):
                    with gr.Tab(name, id=task):
                        fill(service, [str(path) for path in examples])
            if service.inferencer.processor.settings.num_frames and "match" in service.inferencer.tasks:
                with gr.Tab("Clip", id="clip"):
                    _clip_tab(service)
    return page


def theme() -> gr.themes.Base:
    """A theme that fetches nothing."""
    return gr.themes.Default(font=FONT, font_mono=["monospace"])


def _image(examples: Sequence[str]) -> gr.Image:
    image = gr.Image(type="filepath", label="Image", sources=["upload", "clipboard"], height=360)
    # Gradio's own encodes grey and transparent files anew, and the answers would be to those; it has no sentence for
    # files that are no image. Set here, because for a subclass gradio writes a .pyi file into this folder.
    image.preprocess = _uploaded_file
    if examples:
        gr.Examples([[path] for path in examples], [image], label="Examples")
    return image


def _search_tab(service: Service, examples: Sequence[str]) -> None:
    text = gr.Textbox(label="Text", placeholder="a dog on a sofa")
    button = gr.Button("Search", variant="primary")
    # Columns are 100 pixels wide at least: a fourth would lie outside a telephone's screen.
    gallery = gr.Gallery(label=f"Among {len(service.index)} images", columns=3, height="max-content")

    def search(text: str) -> list[tuple[str, str]]:
        found = _guarded(lambda: service.search(text))
        return [(_thumbnail(service, one.index), _caption_of(one)) for one in found]

    gr.on([button.click, text.submit], search, [text], [gallery], api_name="search")


def _ground_tab(service: Service, examples: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            image = _image(examples)
            text = gr.Textbox(label="Phrases, one a line", lines=2, placeholder="the red car")
            number = gr.Slider(1, MAX_CANDIDATES, 1, step=1, label="Candidates")
            threshold = gr.Slider(0, 1, 0, label="Not in this image below")
            button = gr.Button("Point", variant="primary")
        with gr.Column():
            drawn = gr.Image(label="Boxes", type="pil", format="png", buttons=["download", "fullscreen"])
            table = gr.JSON(label="Answer")

    def ground(image: str, text: str, number: float, threshold: float) -> tuple[Any, list[dict]]:
        def work(inferencer: Any) -> tuple[Any, list[dict]]:
            data = _given(image)
            found = inferencer.ground(data, checked_texts(text.splitlines()), int(number), threshold)
            return inferencer.draw(data, found), [one.to_dict() for one in found]

        return _guarded(lambda: service.ask(work))

    gr.on([button.click, text.submit], ground, [image, text, number, threshold], [drawn, table], api_name="ground")


def _match_tab(service: Service, examples: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            image = _image(examples)
            text = gr.Textbox(label="Texts, one a line", lines=4)
            button = gr.Button("Match", variant="primary")
        label = gr.Label(label="Probability of matching, each by itself")

    def match(image: str, text: str) -> dict[str, float]:
        found = _guarded(lambda: service.ask(lambda i: i.match(_given(image), checked_texts(text.splitlines()))))
        return {one.text: one.probability if one.probability is not None else one.similarity for one in found}

    button.click(match, [image, text], [label], api_name="match")


def _answer_tab(service: Service, examples: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            image = _image(examples)
            text = gr.Textbox(label="Question", placeholder="what color is the car?")
            candidates = gr.Textbox(label="Answers to choose from, with commas between (none: the model generates)")
            button = gr.Button("Ask", variant="primary")
        answer = gr.Textbox(label="Answer")

    def ask(image: str, text: str, candidates: str) -> str:
        choices = [one.strip() for one in candidates.split(",") if one.strip()] or None
        found = _guarded(lambda: service.ask(lambda i: i.answer(_given(image), checked_texts([text])[0], choices)))
        return f"{found.text} ({found.probability:.2f})"

    gr.on([button.click, text.submit], ask, [image, text, candidates], [answer], api_name="answer")


def _caption_tab(service: Service, examples: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            image = _image(examples)
            button = gr.Button("Caption", variant="primary")
        text = gr.Textbox(label="Caption")

    def caption(image: str) -> str:
        return _guarded(lambda: service.ask(lambda i: i.caption(_given(image)).text))

    button.click(caption, [image], [text], api_name="caption")


def _explain_tab(service: Service, examples: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            image = _image(examples)
            text = gr.Textbox(label="Text")
            word = gr.Textbox(label="A word of it (none: all of it)")
            method = gr.Radio(["gradcam", "attention"], value="gradcam", label="Method")
            button = gr.Button("Explain", variant="primary")
        drawn = gr.Image(label="Map", type="pil", format="png", buttons=["download", "fullscreen"])

    def explain(image: str, text: str, word: str, method: str) -> Any:
        def work(inferencer: Any) -> Any:
            return inferencer.explain(_given(image), *checked_texts([text]), word.strip() or None, method=method).draw()

        return _guarded(lambda: service.ask(work))

    gr.on([button.click, text.submit], explain, [image, text, word, method], [drawn], api_name="explain")


def _clip_tab(service: Service) -> None:
    with gr.Row():
        with gr.Column():
            video = gr.Video(label="Clip", sources=["upload"])
            text = gr.Textbox(label="Texts, one a line", lines=4)
            button = gr.Button("Match", variant="primary")
        label = gr.Label(label="Probability of matching, each by itself")

    def match_clip(video: str, text: str) -> dict[str, float]:
        if video is None:
            raise gr.Error("Give a clip first.")
        found = _guarded(lambda: service.ask(lambda i: i.match(video=video, texts=checked_texts(text.splitlines()))))
        return {one.text: one.probability if one.probability is not None else one.similarity for one in found}

    button.click(match_clip, [video, text], [label], api_name="match_clip")


def _thumbnail(service: Service, index: int) -> Image.Image:
    """An image of the folder, small: the folder itself is not served, whatever else is in it."""
    image = Image.fromarray(service.inferencer.processor.read(service.index.images[index]))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def _uploaded_file(upload: Any) -> str | None:
    return None if upload is None else upload.path


def _given(image: str | None) -> bytes:
    """The bytes of an uploaded file, as the REST API gets them; where it lies on the server is nobody's business."""
    if image is None:
        raise BadRequestError("give an image first.")
    return Path(image).read_bytes()


def _guarded(work: Callable[[], Any]) -> Any:
    """Errors of who asked are shown to them, as a sentence."""
    try:
        return work()
    except (BadRequestError, BusyError) as error:
        raise gr.Error(str(error)) from error


def _caption_of(one: Any) -> str:
    score = f"{one.probability:.2f}" if one.probability is not None else f"cosine {one.similarity:.2f}"
    return f"{score}  {Path(one.image).name}"
