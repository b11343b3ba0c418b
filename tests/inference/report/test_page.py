"""The page holds what it was given, needs nothing from elsewhere, and overwrites nothing."""

import json
import re
from html.parser import HTMLParser

import pytest

from x2vlm.inference.report.example_cards import Caption, Card, Phrase
from x2vlm.inference.report.page import Report, headlines, loss_charts, progress_charts, result_tables, write_report
from x2vlm.inference.report.run_facts import duration

RESULTS = {
    **{f"image/{way}_r{k}": 60.0 + k for way in ("i2t", "t2i") for k in (1, 5, 10)},
    "image/r_mean": 65.3,
    **{f"image/itc_{way}_r{k}": 40.0 + k for way in ("i2t", "t2i") for k in (1, 5, 10)},
    "image/itc_r_mean": 45.3,
    **{f"image/chance_{way}_r{k}": 0.4 * k for way in ("i2t", "t2i") for k in (1, 5, 10)},
    "image/chance_r_mean": 2.1,
    "grounding/accuracy_at_0.5": 81.5,
    "grounding/mean_iou": 70.2,
    "grounding/average_box_accuracy": 17.1,
    "grounding/average_box_mean_iou": 20.2,
    "grounding/accuracy_at_0.5_object": 85.5,
    "grounding/average_box_accuracy_object": 12.5,
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
CARD = Card(
    "toy:1",
    "scene",
    PIXEL,
    phrases=[Phrase("small red star", "#e69f00", 0.83), Phrase("large ring", "#56b4e9", 0.21)],
    captions=[Caption("a red star", 1, 0.91, False), Caption("a small red star", 7, None, True)],
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
        self.found, self.text, self._open = [], [], []
        self.feed(text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.fixture(scope="module")
def page():
    return Tags(FULL.html())


def test_the_page_loads_nothing_from_elsewhere(page):
    tags = [tag for tag, _ in page.found]
    assert not {"script", "link", "iframe", "object"} & set(tags)
    addresses = [
        value for _, attrs in page.found for key, value in attrs.items() if key in ("src", "href", "xlink:href")
    ]
    assert addresses == [PIXEL]
    assert not re.search(r"url\(|@import|https?://", FULL.html())


def test_the_page_fits_phones_and_both_themes(page):
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.found
    assert "prefers-color-scheme: dark" in FULL.html()


def test_what_was_given_is_on_the_page(page):
    for text in ("What toy learned", "8 min 2 s", "max_iters = 1500", "x2vlm demo", "small red star", "83 %", "91 %"):
        assert text in page.text
    assert "(place 7) a small red star" in page.text


def test_the_right_caption_is_marked_and_only_it(page):
    assert (page.text.count("✓"), page.text.count("✗")) == (1, 1)


def test_texts_cannot_become_tags():
    evil = "<script>alert(1)</script>"
    card = Card(evil, "1", PIXEL, phrases=[Phrase(evil, "red", 0.5)], captions=[Caption(evil, 1, 0.5, True)])
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
    assert "script" not in [tag for tag, _ in Tags(report.html()).found]


def test_a_page_without_training_or_gallery_still_stands():
    assert "Results" in Tags(Report("Test", {"vqa/accuracy": 12.0}).html()).text


def test_results_stand_beside_chance_and_beside_the_average_box():
    image, grounding = result_tables(RESULTS)
    assert image.columns == ["i2t R@1", "i2t R@5", "i2t R@10", "t2i R@1", "t2i R@5", "t2i R@10", "mean"]
    assert {name: cells[0] for name, _, cells in image.rows} == {
        "cosine, then matching": "61.0",
        "cosine alone": "41.0",
        "a random order": "0.4",
    }
    assert grounding.columns == ["IoU at least 0.5", "IoU at least 0.5 object", "mean IoU"]
    assert [cells for _, _, cells in grounding.rows] == [["81.5", "85.5", "70.2"], ["17.1", "12.5", "20.2"]]


def test_headlines_name_what_they_beat():
    assert {line["what"]: (line["value"], line["beside"]) for line in headlines(RESULTS)} == {
        "image: i2t R@1": ("61.0 %", "chance 0.4 %"),
        "image: t2i R@1": ("61.0 %", "chance 0.4 %"),
        "grounding: accuracy": ("81.5 %", "average box 17.1 %"),
    }


def test_there_is_a_chart_per_objective_with_a_line_per_stream():
    itc, rate = loss_charts(FULL.scalars)
    assert [(line.name, line.color) for line in itc.lines] == [("image", 0), ("region", 1)]
    assert rate.title == "Learning rate"


def test_a_stream_keeps_its_colour_in_every_chart():
    charts = loss_charts({"image.loss_itc": [(1, 1.0)], "region.loss_itc": [(1, 1.0)], "region.loss_bbox": [(1, 1.0)]})
    assert [[(line.name, line.color) for line in chart.lines] for chart in charts] == [
        [("image", 0), ("region", 1)],
        [("region", 1)],
    ]


def test_progress_shows_guessing_in_broken_lines():
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
    assert "ITC: contrast" in page.text


def test_an_earlier_page_is_not_overwritten(run):
    before = write_report(run, "First").read_text()
    with pytest.raises(FileExistsError):
        write_report(run, "Second")
    assert (run / "report.html").read_text() == before


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no evaluation in metrics\.jsonl"):
        write_report(tmp_path, "Nothing")


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.24, "5.2 s"), (125, "2 min 5 s"), (3720, "1 h 2 min"), (59.96, "1 min 0 s")]
)
def test_durations_are_said_as_one_would(seconds, text):
    assert duration(seconds) == text
