import json

from x2vlm.cli import run


def test_options_change_the_plan(root, capsys):
    config = str(root / "configs" / "pretrain" / "x2vlm_base_4m.py")
    reports = []
    for options in ([], ["--processes", "64"], ["--precision", "fp32"], ["--checkpointing"], ["--step-seconds", "0.5"]):
        assert run("plan", [config, "--json", *options]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    plain, many, exact, recomputed, fast = reports
    assert many["processes"] == 64
    assert many["memory"]["fsdp"]["weights"] == plain["memory"]["fsdp"]["weights"] / 8
    assert exact["activations"]["image"] > 1.5 * plain["activations"]["image"]
    assert recomputed["memory"]["ddp"]["total"] < 0.6 * plain["memory"]["ddp"]["total"]
    assert fast["reading"]["image"]["rate"] == 2 * plain["reading"]["image"]["rate"]


def test_the_plan_is_printed_as_tables(root, capsys):
    assert run("plan", [str(root / "configs" / "pretrain" / "x2vlm_base_4m.py")]) == 0
    shown = capsys.readouterr().out
    assert "8 processes, fp16" in shown
    assert "streams that go together: image, region" in shown
    assert "a worker has" in shown
