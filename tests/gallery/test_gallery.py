"""A gallery on disk holds what a bank in memory holds, gives the same figures, and is written part by part."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.gallery.test_processes import in_two_processes
from tests.models.conftest import tiny_model
from x2vlm.building import ConfigError
from x2vlm.data.batch import Sample
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.loader import EvaluationLoader
from x2vlm.data.record import RecordError
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.engine.checkpoint.integrity import SaveError
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.gallery import rerank
from x2vlm.gallery.encode_gallery import Storing, encode_gallery, part_ranges
from x2vlm.gallery.gallery_dataset import GalleryData
from x2vlm.gallery.rerank import cut_jobs, encoded_again, gallery_scorer
from x2vlm.gallery.resumable import agree, done, share_of_missing, whole_folder
from x2vlm.gallery.retrieval_features import encode_retrieval_set
from x2vlm.gallery.stored_gallery import StoredGallery
from x2vlm.models.eval_mode import eval_mode

WORDS = ["dog", "cat", "red", "blue", "left", "right", "of", "the", "a", "two"]
COLLATE = PairCollate(bert_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), masking=None)


class Listed:
    """Records that are samples already; None is a bad one."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        if self.samples[index] is None:
            raise RecordError(f"data:{index}", "it is broken")
        return self.samples[index]


def sample(number, generator, texts=1, identity=None, frames=0, boxes=False, distinct=False):
    lengths = torch.randint(1, 7, (texts,), generator=generator).tolist()
    said = [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=generator)) for n in lengths]
    corners = torch.rand(texts, 2, generator=generator) / 2
    if distinct:  # other patches and other words: no two scores are equal, whose order rounding would decide
        corners = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])[:texts]
        said = [f"{WORDS[number // 10]} {WORDS[number % 10]} {WORDS[i]} {text}" for i, text in enumerate(said)]
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(texts, 1)
    identity = f"id {number}" if identity is None else identity
    return Sample(
        where=f"data:{number}",
        texts=said,
        pixels=torch.randn(*[frames] * (frames > 0), 3, 16, 16, generator=generator),
        boxes_xyxy=torch.cat([corners, corners + 0.5], dim=1) if boxes else whole,
        has_box=torch.full((texts,), boxes),
        ids=[f"{identity} {i}" if boxes else identity for i in range(texts)],
    )


def records(kind, all_different=False):
    """Twelve records: one is bad, two show the same thing, some say the same; or regions, or clips."""
    generator = torch.Generator().manual_seed(1)
    if kind == "regions":
        return Listed([sample(i, generator, texts=1 + i % 3, boxes=True, distinct=all_different) for i in range(7)])
    if kind == "clips":
        return Listed([sample(i, generator, frames=2, distinct=all_different) for i in range(7)])
    samples = [sample(i, generator, texts=1 + i % 3, distinct=all_different) for i in range(12)]
    samples[3] = None
    samples[10] = replace(samples[10], ids=samples[1].ids[:1] * len(samples[10].texts))
    if not all_different:
        samples[8] = replace(samples[8], texts=samples[5].texts)
    return Listed(samples)


@pytest.fixture(scope="module")
def model():
    net = tiny_model()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return net


def data_of(kind, batch_size=2, all_different=False):
    return GalleryData("test", records(kind, all_different), COLLATE, batch_size)


def encoded(model, kind, folder, all_different=False, **storing):
    data, storing = data_of(kind, all_different=all_different), Storing(part_records=3, **storing)
    encode_gallery(model, data, folder, storing)
    return data, StoredGallery(folder, len(part_ranges(len(data.dataset), data.batch_size, storing)))


def everything(rows):
    return torch.cat([feats for _, feats in rows.chunks(5)])


KINDS = ["images", "regions", "clips"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_gallery_on_disk_holds_what_a_bank_in_memory_holds(model, kind, tmp_path):
    data, gallery = encoded(model, kind, tmp_path)
    with eval_mode(model):
        bank = encode_retrieval_set(model, EvaluationLoader("test", data.dataset, COLLATE, batch_size=5))
    assert torch.equal(gallery.context_ids, bank.context_ids)
    assert torch.equal(gallery.text_ids, bank.text_ids)
    torch.testing.assert_close(everything(gallery.contexts), bank.context_feats, atol=1e-5, rtol=0)
    torch.testing.assert_close(everything(gallery.texts), bank.texts.feat, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [None, "fp32"])
@pytest.mark.parametrize("k", [2, 50])
def test_its_figures_are_those_of_the_evaluation_in_memory(model, kind, tokens, k, tmp_path, monkeypatch):
    monkeypatch.setattr(rerank, "JOB_CONTEXTS", 3)  # several jobs
    # Equal texts have equal scores, of which rounding would decide the order.
    data, gallery = encoded(model, kind, tmp_path, all_different=True, context_tokens=tokens, text_tokens=tokens)
    metric = RetrievalMetric(k=k, at=(1, 2, 5), chunk=7)
    expected = metric.evaluate(model, EvaluationLoader("test", data.dataset, COLLATE, batch_size=5))
    logits = []
    score = gallery_scorer(model, data, gallery, tmp_path / "scores", chunk=7)
    found = metric.judge_stored(gallery, lambda c, t: logits.append(score(c, t)) or logits[-1])
    assert found == pytest.approx(expected)
    assert logits[0].std() > 0.01
    assert len(list((tmp_path / "scores").glob("*/*"))) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_contexts_that_are_encoded_again_are_those_that_were_stored(model, kind, tmp_path):
    data, gallery = encoded(model, kind, tmp_path, context_tokens="fp32")
    jobs = [torch.tensor([1, 3, 4]), torch.tensor([0]), torch.arange(len(gallery.context_ids))]
    with eval_mode(model):
        again = list(encoded_again(model, data, gallery, jobs))
    for job, one in zip(jobs, again, strict=True):
        stored = gallery.context_views(job)
        torch.testing.assert_close(one.tokens[one.owner], stored.tokens[stored.owner], atol=1e-5, rtol=0)
        torch.testing.assert_close(one.summary, stored.summary, atol=1e-5, rtol=0)
        assert torch.equal(one.mask, stored.mask)


@pytest.mark.parametrize(("kind", "tolerance"), [("fp16", 2e-3), ("bf16", 2e-2)])
def test_tokens_of_half_the_size_change_logits_a_little(model, kind, tolerance, tmp_path):
    _, whole = encoded(model, "images", tmp_path / "fp32", context_tokens="fp32", text_tokens="fp32")
    data, half = encoded(model, "images", tmp_path / kind, context_tokens=kind, text_tokens=kind)
    file = next((tmp_path / kind).rglob("contexts-*.safetensors"))
    with safe_open(file, framework="pt") as opened:
        assert str(opened.get_slice("tokens").get_dtype()) == {"fp16": "F16", "bf16": "BF16"}[kind]
    contexts, texts = torch.arange(5).repeat_interleave(3), torch.arange(3).repeat(5)
    ours = gallery_scorer(model, data, half, tmp_path / "a", 8)(contexts, texts)
    theirs = gallery_scorer(model, data, whole, tmp_path / "b", 8)(contexts, texts)
    assert 0 < (ours - theirs).abs().max() < tolerance * theirs.abs().max()


def test_stored_texts_come_in_any_order(model, tmp_path):
    _, gallery = encoded(model, "images", tmp_path, text_tokens="fp32")
    whole, index = gallery.text_views(torch.arange(len(gallery.text_ids))), torch.tensor([7, 0, 7, 12, 3])
    some = gallery.text_views(index)
    length = some.mask.shape[1]
    torch.testing.assert_close(some.embeds, whole.embeds[index][:, :length])
    assert torch.equal(some.mask, whole.mask[index][:, :length])
    ids, mask = gallery.words(index).padded()
    with eval_mode(model):
        torch.testing.assert_close(some.embeds[mask], model.encode_text(ids, mask).embeds[mask], atol=1e-5, rtol=0)


def test_pictures_alone_make_a_gallery_too(model, tmp_path):
    generator = torch.Generator().manual_seed(1)
    samples = [replace(sample(i, generator), texts=[], boxes_xyxy=None, has_box=None) for i in range(5)]
    data = GalleryData("test", Listed(samples), COLLATE, 2)
    encode_gallery(model, data, tmp_path, Storing(part_records=2))
    gallery = StoredGallery(tmp_path, 3)
    assert gallery.context_records.tolist() == [0, 1, 2, 3, 4]
    assert len(gallery.text_ids) == 0
    assert gallery.where(3) == "data:3"


def test_records_keep_their_numbers_past_bad_ones_and_doubles(model, tmp_path):
    data, gallery = encoded(model, "images", tmp_path)
    assert gallery.context_records.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 11]  # 3 is bad, 10 shows what 1 shows
    assert [gallery.where(i) for i in range(10)] == [f"data:{i}" for i in gallery.context_records.tolist()]
    assert data.ledger.counts["test"].bad == 1


def test_two_processes_write_the_gallery_and_score_the_pairs_of_one(model, tmp_path, monkeypatch):
    monkeypatch.setattr(rerank, "JOB_CONTEXTS", 2)
    metric = RetrievalMetric(k=3, at=(1, 2))

    def task(folder, rank):
        model.encoded = model.scored = 0
        encode, score = model.encode_context, model.objectives["itm"].score
        monkeypatch.setattr(model, "encode_context", lambda b: count("encoded", len(b.pixels)) or encode(b))
        monkeypatch.setattr(model.objectives["itm"], "score", lambda f: count("scored", len(f)) or score(f))
        data, gallery = encoded(model, "clips", folder, context_tokens="fp32")
        results = metric.judge_stored(gallery, gallery_scorer(model, data, gallery, folder / "scores", 8))
        return results, model.encoded, model.scored, everything(gallery.contexts).numpy()

    def count(name, more):
        setattr(model, name, getattr(model, name) + more)

    (tmp_path / "meet").mkdir()
    both = in_two_processes(partial(task, tmp_path / "two"), tmp_path / "meet")
    one = task(tmp_path / "one", 0)
    assert both[0][0] == both[1][0] == pytest.approx(one[0])
    np.testing.assert_allclose(both[0][3], one[3], atol=1e-5)
    for place in (1, 2):
        assert both[0][place] + both[1][place] == one[place]
        assert abs(both[0][place] - both[1][place]) <= 0.5 * one[place]


def test_what_is_there_is_not_made_again(model, tmp_path, monkeypatch):
    data, gallery = encoded(model, "images", tmp_path)
    score = gallery_scorer(model, data, gallery, tmp_path / "scores", 8)
    pairs = torch.arange(5), torch.tensor([1, 1, 0, 2, 3])
    first = score(*pairs)
    monkeypatch.setattr(model, "encode_context", None)
    monkeypatch.setattr(model, "encode_text", None)
    encoded(model, "images", tmp_path)
    assert torch.equal(score(*pairs), first)


def test_other_pairs_have_scores_of_their_own(model, tmp_path):
    data, gallery = encoded(model, "images", tmp_path)
    score = gallery_scorer(model, data, gallery, tmp_path / "scores", 8)
    several = score(torch.tensor([0, 1]), torch.tensor([1, 1]))
    assert not torch.equal(several, score(torch.tensor([0, 1]), torch.tensor([2, 2])))
    assert len(list((tmp_path / "scores").iterdir())) == 2


def test_jobs_hold_whole_images_and_bound_their_pairs(monkeypatch):
    monkeypatch.setattr(rerank, "JOB_CONTEXTS", 3)
    monkeypatch.setattr(rerank, "JOB_PAIRS", 5)
    contexts = torch.tensor([0, 0, 1, 1, 1, 2, 2, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7])
    assert [contexts[job].tolist() for job in cut_jobs(contexts)] == [
        [0, 0, 1, 1, 1],
        [2, 2, 4, 5],
        [6],
        [7] * 7,
    ]
    assert cut_jobs(contexts[:0]) == []


def test_a_record_that_is_gone_is_told(model, tmp_path):
    data, gallery = encoded(model, "images", tmp_path)
    data.dataset.samples[4] = None
    with eval_mode(model), pytest.raises(ConfigError, match=r"1 contexts of the gallery.*record 4"):
        list(encoded_again(model, data, gallery, [torch.arange(5)]))


def test_a_gallery_without_some_of_its_parts_is_told(model, tmp_path):
    encoded(model, "images", tmp_path)
    (tmp_path / "parts" / "000001").rename(tmp_path / "parts" / "elsewhere")
    with pytest.raises(ConfigError, match="1 of 3 parts are missing"):
        StoredGallery(tmp_path, 3)


def test_a_diverged_model_writes_nothing(tmp_path):
    net = tiny_model()
    torch.nn.init.constant_(net.vision_proj.weight, float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        encoded(net, "images", tmp_path)
    assert not done(tmp_path / "parts")


def test_a_part_is_there_as_a_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "000001") as aside:
        (aside / "half").write_text("half")
        raise KeyboardInterrupt
    assert done(tmp_path) == set()
    assert share_of_missing(tmp_path, 2) == [0, 1]
    assert not list(tmp_path.iterdir())  # the half is gone
    with whole_folder(tmp_path / "000001") as aside:
        (aside / "whole").write_text("whole")
    assert share_of_missing(tmp_path, 2) == [0]


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    with (
        pytest.raises(SaveError, match=r"000001 could not be saved: No space left.*goes on"),
        whole_folder(tmp_path / "000001"),
    ):
        raise OSError(28, "No space left on device")


def test_a_folder_of_another_run_is_told_with_what_differs(tmp_path):
    facts = {"checkpoint": "a", "records": 5}
    agree(tmp_path / "gallery.json", facts, "a gallery")
    agree(tmp_path / "gallery.json", facts, "a gallery")
    with pytest.raises(ConfigError, match=r'a gallery made otherwise: checkpoint was "a", is "b".*Name another folder'):
        agree(tmp_path / "gallery.json", facts | {"checkpoint": "b"}, "a gallery")
    assert json.loads((tmp_path / "gallery.json").read_text()) == facts


@pytest.mark.parametrize("wrong", [dict(part_records=0), dict(context_tokens="int8"), dict(text_tokens="half")])
def test_what_cannot_be_stored_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*expected"):
        Storing(**wrong)
