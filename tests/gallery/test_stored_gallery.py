"""A gallery on disk is read as it was encoded."""

import pytest
import torch

from tests.gallery.gallery_records import COLLATE, KINDS, all_features, encode_to, random_model
from x2vlm.building import ConfigError
from x2vlm.data.loader import EvaluationLoader
from x2vlm.gallery.encode_in_memory import encode_retrieval_set
from x2vlm.gallery.stored_gallery import StoredGallery
from x2vlm.models.eval_mode import eval_mode


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.mark.parametrize("kind", KINDS)
def test_a_gallery_on_disk_holds_the_features_that_are_encoded_in_memory(model, kind, tmp_path):
    data, gallery = encode_to(tmp_path, model, kind)
    with eval_mode(model):
        features = encode_retrieval_set(model, EvaluationLoader("test", data.dataset, COLLATE, batch_size=5))
    assert torch.equal(gallery.context_ids, features.context_ids)
    assert torch.equal(gallery.text_ids, features.text_ids)
    torch.testing.assert_close(all_features(gallery.context_feats), features.context_feats, atol=1e-5, rtol=0)
    torch.testing.assert_close(all_features(gallery.text_feats), features.texts.feat, atol=1e-5, rtol=0)


def test_stored_texts_are_read_in_any_order(model, tmp_path):
    _, gallery = encode_to(tmp_path, model, "images", text_tokens="fp32")
    whole, index = gallery.read_texts(torch.arange(len(gallery.text_ids))), torch.tensor([7, 0, 7, 12, 3])
    some = gallery.read_texts(index)
    length = some.mask.shape[1]
    torch.testing.assert_close(some.embeds, whole.embeds[index][:, :length])
    assert torch.equal(some.mask, whole.mask[index][:, :length])
    ids, mask = gallery.read_text_ids(index).padded()
    with eval_mode(model):
        torch.testing.assert_close(some.embeds[mask], model.encode_text(ids, mask).embeds[mask], atol=1e-5, rtol=0)


def test_missing_shards_are_named_in_the_error(model, tmp_path):
    encode_to(tmp_path, model, "images")
    (tmp_path / "parts" / "000001").rename(tmp_path / "parts" / "elsewhere")
    with pytest.raises(ConfigError, match="1 of 3 shards are missing"):
        StoredGallery(tmp_path, 3)
