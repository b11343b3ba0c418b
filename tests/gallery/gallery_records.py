"""Small data sets and a model for the tests of galleries."""

from dataclasses import replace

import torch

from tests.models.conftest import tiny_model
from x2vlm.data.batch import Sample
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.record import RecordError
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.gallery.encode_to_disk import encode_gallery
from x2vlm.gallery.gallery_dataset import GalleryData
from x2vlm.gallery.gallery_layout import GalleryStorage, shard_ranges
from x2vlm.gallery.stored_gallery import StoredGallery

KINDS = ["images", "regions", "clips"]
WORDS = ["dog", "cat", "red", "blue", "left", "right", "of", "the", "a", "two"]
COLLATE = PairCollate(bert_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), masking=None)


class SampleDataset:
    """A data set of given samples; None stands for a bad record."""

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
    sentences = [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=generator)) for n in lengths]
    corners = torch.rand(texts, 2, generator=generator) / 2
    if distinct:  # other patches and tokens: no two scores are equal, whose order rounding errors would decide
        corners = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])[:texts]
        sentences = [
            f"{WORDS[number // 10]} {WORDS[number % 10]} {WORDS[i]} {text}" for i, text in enumerate(sentences)
        ]
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(texts, 1)
    identity = f"id {number}" if identity is None else identity
    return Sample(
        where=f"data:{number}",
        texts=sentences,
        pixels=torch.randn(*[frames] * (frames > 0), 3, 16, 16, generator=generator),
        boxes_xyxy=torch.cat([corners, corners + 0.5], dim=1) if boxes else whole,
        has_box=torch.full((texts,), boxes),
        ids=[f"{identity} {i}" if boxes else identity for i in range(texts)],
    )


def records(kind, all_different=False):
    """Twelve records, of which one is bad, two share an identity and some share texts; or regions, or clips."""
    generator = torch.Generator().manual_seed(1)
    if kind == "regions":
        return SampleDataset(
            [sample(i, generator, texts=1 + i % 3, boxes=True, distinct=all_different) for i in range(7)]
        )
    if kind == "clips":
        return SampleDataset([sample(i, generator, frames=2, distinct=all_different) for i in range(7)])
    samples = [sample(i, generator, texts=1 + i % 3, distinct=all_different) for i in range(12)]
    samples[3] = None
    samples[10] = replace(samples[10], ids=samples[1].ids[:1] * len(samples[10].texts))
    if not all_different:
        samples[8] = replace(samples[8], texts=samples[5].texts)
    return SampleDataset(samples)


def random_model():
    """A tiny model with larger weights, so that scores differ."""
    net = tiny_model()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return net


def data_of(kind, batch_size=2, all_different=False):
    return GalleryData("test", records(kind, all_different), COLLATE, batch_size)


def encode_to(folder, model, kind, all_different=False, **storage):
    """Encode a gallery in shards of three records; its data and the gallery."""
    data, storage = data_of(kind, all_different=all_different), GalleryStorage(part_records=3, **storage)
    encode_gallery(model, data, folder, storage)
    return data, StoredGallery(folder, len(shard_ranges(len(data.dataset), data.batch_size, storage)))


def all_features(store):
    return torch.cat([feats for _, feats in store.chunks(5)])
