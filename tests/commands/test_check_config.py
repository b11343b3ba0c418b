from x2vlm.commands.check_config import main

STREAM = "dict(dataset=dict(type='JsonLines', ann_file='a.jsonl'), batch_size=8{more})"


def test_a_named_config_shows_whether_batch_size_counts_records_or_pairs(tmp_path, capsys):
    streams = f"dict(image={STREAM.format(more='')}, region={STREAM.format(more=', max_images=3')})"
    (tmp_path / "config.py").write_text(f"streams = {streams}\n")
    assert main([str(tmp_path / "config.py")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("config.py: ok")
    assert lines[1:] == [
        "  streams.image: batches of 8 records, with all of their pairs",
        "  streams.region: batches of 8 pairs, chosen at random from 3 records",
    ]
