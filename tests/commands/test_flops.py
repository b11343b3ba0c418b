import json

from x2vlm.commands.flops import main

CONFIG = "configs/demo/toy_pretrain.py"


def test_parts_are_reported_with_parameters_and_multiply_adds(root, capsys):
    assert main([str(root / CONFIG), "--pairs", "4", "--images", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"vision_encoder", "text_encoder", "fusion_encoder", "objectives.mlm"} <= report["multiply_adds"].keys()
    assert {"vision_encoder", "text_encoder", "fusion_encoder"} <= report["parameters"].keys()
    assert report["amount"] == {"pairs": 4, "images": 2, "tokens": 12, "masks": 6}
    assert main([str(root / CONFIG)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert "1 texts of 12 tokens with 1 images" in table[0]
    assert table[-1].strip().startswith("all")
