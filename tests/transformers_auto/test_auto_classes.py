"""A saved folder is read by transformers' Auto classes, in a process that knows nothing of its config."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from x2vlm.inference import Inferencer

TEXTS = ["a red circle", "a blue square"]
ELSEWHERE = """
import json, sys
import numpy as np, torch
import x2vlm.transformers_auto.auto_classes
from transformers import AutoConfig, AutoModel, AutoProcessor

folder = sys.argv[1]
model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
with torch.no_grad():
    outputs = model(**processor(images=image, text=["a red circle", "a blue square"]))
print(json.dumps(dict(
    type=AutoConfig.from_pretrained(folder).model_type,
    cosines=(outputs.image_embeds @ outputs.text_embeds.T)[0].tolist(),
    probabilities=outputs.match_logits.softmax(-1)[:, 1].tolist(),
    boxes=outputs.pred_boxes.tolist(),
)))
"""


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def inferencer(cfg, checkpoint):
    made = Inferencer.from_checkpoint(cfg, checkpoint)
    made.model.preprocessing = made.processor.settings.to_dict()
    return made


@pytest.mark.slow
def test_another_process_reads_the_folder_where_it_was_moved_to(inferencer, image, tmp_path):
    inferencer.model.save_pretrained(tmp_path / "model")
    moved = (tmp_path / "model").rename(tmp_path / "moved")
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(moved)], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["type"] == "x2vlm"
    by_text = {match.text: match for match in inferencer.match(image, TEXTS)}
    assert answer["cosines"] == pytest.approx([by_text[text].similarity for text in TEXTS], abs=1e-5)
    assert answer["probabilities"] == pytest.approx([by_text[text].probability for text in TEXTS], abs=1e-5)
    for box, text in zip(answer["boxes"], TEXTS, strict=True):
        assert box == pytest.approx(inferencer.ground(image, text).box_xyxy, abs=1e-5)


def test_regions_of_images_are_given_in_pixels(inferencer, image, tmp_path):
    from x2vlm.transformers_auto.auto_model import X2VLMModel
    from x2vlm.transformers_auto.auto_processor import X2VLMProcessor

    inferencer.model.save_pretrained(tmp_path / "model")
    model = X2VLMModel.from_pretrained(tmp_path / "model")
    processor = X2VLMProcessor.from_pretrained(tmp_path / "model")
    batch = processor(images=[image, 255 - image], text=TEXTS, boxes=[(0, 0, 30, 20), (0, 0, 60, 40)])
    assert batch["boxes"].tolist() == [[0, 0, 0.5, 0.5], [0, 0, 1, 1]]
    with torch.no_grad():
        part, whole = model(**batch), model(**{key: value for key, value in batch.items() if key != "boxes"})
    assert not torch.allclose(part.match_logits[0], whole.match_logits[0])
    torch.testing.assert_close(part.match_logits[1], whole.match_logits[1])
    assert part.logits_per_image.shape == (2, 2)
    swapped = model(**processor(images=[image, 255 - image], text=TEXTS, image_index=[1, 0]))
    assert not torch.allclose(swapped.match_logits, whole.match_logits)
    with pytest.raises(ValueError, match="3 boxes were given for 2 texts"):
        processor(images=[image, image], text=TEXTS, boxes=[(0, 0, 1, 1)] * 3)
    with pytest.raises(ValueError, match=r"image_index has 2 entries up to 5.*number of images, 2"):
        model(**processor(images=[image, image], text=TEXTS, image_index=[0, 5]))


def test_what_it_saves_is_read_by_the_library(inferencer, image, tmp_path):
    from x2vlm.transformers_auto.auto_model import X2VLMModel

    inferencer.model.save_pretrained(
        tmp_path / "first", card=dict(data="toy scenes", metrics={"r1": 50.0}, license="mit")
    )
    X2VLMModel.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    again = Inferencer.from_pretrained(tmp_path / "second")
    assert again.match(image, TEXTS) == inferencer.match(image, TEXTS)
    card = (tmp_path / "first" / "README.md").read_text()
    assert "license: mit" in card
    assert "toy scenes" in card
    assert "| r1 | 50.00 |" in card
    assert json.loads(card.split("```json")[1].split("```")[0])["model_type"] == "x2vlm"


def test_an_option_that_would_do_nothing_is_refused(inferencer, tmp_path):
    from x2vlm.transformers_auto.auto_model import X2VLMModel

    inferencer.model.save_pretrained(tmp_path / "model")
    assert X2VLMModel.from_pretrained(tmp_path / "model", dtype=torch.float64).dtype == torch.float64
    with pytest.raises(ValueError, match=r"device_map would do nothing for this model. Accepted: .*dtype"):
        X2VLMModel.from_pretrained(tmp_path / "model", device_map="auto")
