"""Text as it is published: GLUE, aligned sentences, articles of Wikipedia."""

from tests.data.datasets.layout_files import Layout, write_jsonl

LONG = "Paris is the capital of France, on the Seine."


def glue_sst2(root):
    rows = ["sentence\tlabel", "hide new secretions \t0", 'it "works" well \t1', "no label"]
    (root / "SST-2").mkdir()
    (root / "SST-2" / "train.tsv").write_text("\n".join(rows) + "\n")
    columns = dict(text="sentence", label="label")
    config = dict(type="Table", ann_file="SST-2/train.tsv", columns=columns)
    first = {"text": "hide new secretions ", "label": "0"}
    return Layout(config, 2, [r"train\.tsv:4: the row is too short: it has no label"], first)


def glue_cola(root):
    rows = ["gj04\t1\t\tOur friends won't buy this.", "gj04\t0\t*\tThey drank the pub.", "gj04\t1"]
    (root / "CoLA").mkdir()
    (root / "CoLA" / "train.tsv").write_text("\n".join(rows) + "\n")
    config = dict(type="Table", ann_file="CoLA/train.tsv", header=False, columns=dict(text=3, label=1))
    return Layout(config, 2, [r"train\.tsv:3: the row is too short"], {"text": "Our friends won't buy this."})


def opus(root):
    (root / "WikiMatrix.de-en.en").write_text("A dog.\nA cat.\nAlone.\n")
    (root / "WikiMatrix.de-en.de").write_text("Ein Hund.\nEine Katze.\n\n")
    config = dict(type="ParallelText", files=dict(en="WikiMatrix.de-en.en", de="WikiMatrix.de-en.de"))
    return Layout(
        config, 2, ["text in fewer than two of the languages"], {"parallel": {"en": "A dog.", "de": "Ein Hund."}}
    )


def plain_text(root):
    (root / "corpus-00.txt").write_bytes(b"One sentence a line .\n\nAnother one .\n\xff\xfe\n")
    return Layout(dict(type="PlainText", files="corpus-*.txt"), 2, ["not UTF-8"], {"text": "One sentence a line ."})


def wikipedia_extracted(root):
    def article(number, *lines, end="</doc>"):
        head = f'<doc id="{number}" url="https://en.wikipedia.org/wiki?curid={number}" title="Paris {number}">'
        return "\n".join([head, f"Paris {number}", "", *lines, end])

    articles = [article(1, LONG, "", "History.", f"1 {LONG}"), article(2), article(3, LONG, end="")]
    (root / "extracted" / "AA").mkdir(parents=True)
    (root / "extracted" / "AA" / "wiki_00").write_text("\n".join([*articles, article(4, LONG)]) + "\n")
    config = dict(type="WikipediaText", files="extracted/*/wiki_*")
    first = {"id": "1", "text": [LONG, f"1 {LONG}"], "extras": {"title": "Paris 1"}}
    return Layout(config, 2, [r"AA/wiki_00:13: expected <doc id=.*got '<doc id=\"3\""], first)


def wikipedia_json(root):
    rows = [{"id": str(n), "url": "u", "title": "Paris", "text": f"Paris\n\n{LONG}\n"} for n in range(3)]
    (root / "extracted" / "AA").mkdir(parents=True)
    write_jsonl(root / "extracted" / "AA" / "wiki_00", [*rows[:2], {**rows[2], "text": None}])
    config = dict(type="WikipediaText", files="extracted/*/wiki_*", min_chars=10)
    return Layout(config, 2, ["text: expected a text, got None"], {"text": [LONG]})


def wikipedia_parquet(root):
    import pyarrow
    from pyarrow import parquet

    rows = [{"id": str(n), "url": "u", "title": "Paris", "text": LONG} for n in range(3)]
    rows[2]["text"] = "short"
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "train-00000-of-00041.parquet", row_group_size=2)
    config = dict(type="WikipediaText", files="train-*.parquet")
    return Layout(config, 2, [r"parquet\[2\]: no paragraph has 20 characters"], {"text": [LONG], "id": "0"})


LAYOUTS = (glue_sst2, glue_cola, opus, plain_text, wikipedia_extracted, wikipedia_json, wikipedia_parquet)
