"""The page contains its inputs, loads no external resources, and overwrites nothing."""

import json
import re
from html.parser import HTMLParser

import pytest

from tests.inference.report.test_result_tables import RESULTS
from x2vlm.inference.report.example_cards import CaptionResult, ExampleCard, PhraseResult
from x2vlm.inference.report.page import Report, loss_charts, progress_charts, write_report

PIXEL = "data:image/png;base64,iVBORw0KGgo="
CARD = ExampleCard(
    "toy:1",
    "scene",
    PIXEL,
    phrases=[PhraseResult("small red star", "#e69f00", 0.83), PhraseResult("large ring", "#56b4e9", 0.21)],
    captions=[CaptionResult("a red star", 1, 0.91, False), CaptionResult("a small red star", 7, None, True)],
    candidates=256,
)
FULL = Report(
    title="What toy learned",
    results=RESULTS,
    scalars={
        "image.loss_itc": [(10, 4.0), (20, 3.0)],
        "region.loss_itc": [(10, 3.5)],
        "lr": [(10, 0.1)],
        "loss": [(10, 9.0)],
    },
    evaluations={"image/i2t_r1": [(10, 5.0), (20, 60.0)], "image/chance_t2i_r1": [(10, 0.4), (20, 0.4)]},
    gallery={"grounding": [CARD]},
    facts=[("training", "8 min 2 s")],
    config="max_iters = 1500",
    command="x2vlm demo",
)


class Tags(HTMLParser):
    """Collects every tag with its attributes, and checks that they close in order."""

    void = ("meta", "img", "br", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], [], []
        self.feed(text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.fixture(scope="module")
def page():
    return Tags(FULL.html())


def test_the_page_loads_no_external_resources(page):
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object"} & set(tags)
    addresses = [
        value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href", "xlink:href")
    ]
    assert addresses == [PIXEL]
    assert not re.search(r"url\(|@import|https?://", FULL.html())


def test_the_page_fits_phones_and_both_themes(page):
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert "prefers-color-scheme: dark" in FULL.html()


def test_the_inputs_are_on_the_page(page):
    for text in ("What toy learned", "8 min 2 s", "max_iters = 1500", "x2vlm demo", "small red star", "83 %", "91 %"):
        assert text in page.text
    assert "(rank 7) a small red star" in page.text


def test_only_the_correct_caption_is_marked(page):
    assert (page.text.count("✓"), page.text.count("✗")) == (1, 1)


def test_texts_are_escaped():
    evil = "<script>alert(1)</script>"
    card = ExampleCard(
        evil, "1", PIXEL, phrases=[PhraseResult(evil, "red", 0.5)], captions=[CaptionResult(evil, 1, 0.5, True)]
    )
    report = Report(
        title=evil,
        results={f"{evil}/i2t_r1": 1.0},
        subtitle=evil,
        scalars={f"{evil}.loss": [(1, 1.0)]},
        gallery={evil: [card]},
        facts=[(evil, evil)],
        config=evil,
        command=evil,
    )
    assert "script" not in [tag for tag, _ in Tags(report.html()).tags]


def test_a_page_without_training_or_examples_is_valid():
    assert "Results" in Tags(Report("Test", {"vqa/accuracy": 12.0}).html()).text


def test_there_is_a_chart_per_objective_with_a_curve_per_stream():
    itc, rate = loss_charts(FULL.scalars)
    assert [(line.name, line.color) for line in itc.lines] == [("image", 0), ("region", 1)]
    assert rate.title == "Learning rate"


def test_a_stream_keeps_its_colour_in_every_chart():
    charts = loss_charts({"image.loss_itc": [(1, 1.0)], "region.loss_itc": [(1, 1.0)], "region.loss_bbox": [(1, 1.0)]})
    assert [[(line.name, line.color) for line in chart.lines] for chart in charts] == [
        [("image", 0), ("region", 1)],
        [("region", 1)],
    ]


def test_progress_shows_baselines_dashed():
    (chart,) = progress_charts(FULL.evaluations)
    assert [(line.name, line.dashed) for line in chart.lines] == [("i2t R@1", False), ("chance", True)]
    assert chart.y_range == (0, 100)


@pytest.fixture
def run(tmp_path):
    """The folder of a run: a log and two evaluations."""
    scalars = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    scalars.parent.mkdir(parents=True)
    scalars.write_text(json.dumps({"image.loss_itc": 4.0, "iter": 10}) + "\n")
    lines = [
        {"mode": mode, "iter": 10, "metrics": {"image/i2t_r1": value}} for mode, value in (("val", 1.0), ("test", 2.0))
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_page_is_made_from_the_folder_of_a_run(run):
    page = Tags(write_report(run, "Run").read_text())
    assert "2.0" in page.text  # of the last evaluation
    assert "ITC: contrastive" in page.text


def test_an_earlier_page_is_not_overwritten(run):
    before = write_report(run, "First").read_text()
    with pytest.raises(FileExistsError):
        write_report(run, "Second")
    assert (run / "report.html").read_text() == before


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no evaluation in metrics\.jsonl"):
        write_report(tmp_path, "Nothing")
