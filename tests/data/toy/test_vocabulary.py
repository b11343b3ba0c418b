"""The toy vocabulary: is everything in it that can be said?"""

from pathlib import Path

from x2vlm.config import load_config
from x2vlm.data.toy.drawn_shapes import COLORS, SHAPES
from x2vlm.data.toy.toy_tokenizer import toy_tokenizer, toy_vocabulary
from x2vlm.data.toy.world import ToyWorld
from x2vlm.registry import TOKENIZERS

EVERYTHING = dict(shapes=tuple(SHAPES), colors=tuple(COLORS), languages=("en", "de", "zh"), num_frames=1, image_size=16)


def spoken(kind, count, **options):
    """All texts of the first records, in all languages."""
    world = ToyWorld(kind, num_scenes=count, **options, **EVERYTHING)
    records = [world.record(index) for index in range(count)]
    reported = [record[key] for record in records for key in ("caption", "parallel") if key in record]
    reported += [elem["caption"] for record in records for elem in record.get("elems", [])]
    return {text for languages in reported for text in languages.values()}


def test_the_tokenizer_knows_every_word_of_captions_and_phrases():
    tokenizer = toy_tokenizer()
    texts = spoken("parallel", 2000) | spoken("video", 300, objects=(1, 3)) | spoken("region", 300)
    unknown = [text for text in texts if tokenizer.unk_token in tokenizer.tokenize(text)]
    assert len(texts) > 6000
    assert not unknown, unknown[:3]


def test_every_word_of_the_vocabulary_occurs():
    tokenizer = toy_tokenizer()
    texts = spoken("parallel", 2000) | spoken("video", 300, objects=(1, 3)) | spoken("region", 300)
    used = {piece for text in texts for piece in tokenizer.tokenize(text)}
    # "an" comes before a colour only where a size is left out, which captions do not do.
    assert set(toy_vocabulary()[5:]) - used == {"an"}


def test_the_tokenizer_holds_the_vocabulary_and_no_piece_twice():
    vocabulary, tokenizer = toy_vocabulary(), toy_tokenizer()
    assert vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(set(vocabulary)) == len(vocabulary) == len(tokenizer)
    assert tokenizer.convert_ids_to_tokens(range(len(vocabulary))) == vocabulary
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.mask_token_id) == (0, 2, 4)


def test_english_captions_of_four_things_fit_into_forty_tokens():
    tokenizer, world = toy_tokenizer(), ToyWorld("text", num_scenes=1000)
    assert max(len(tokenizer(world.record(index)["text"])["input_ids"]) for index in range(1000)) <= 40


def test_words_fall_into_pieces_that_whole_word_masking_can_join():
    tokenizer = toy_tokenizer()
    assert tokenizer.tokenize("ein orangefarbener Kreis") == ["ein", "orange", "##farben", "##er", "kreis"]
    assert tokenizer.tokenize("a red triangle") == ["a", "red", "tri", "##angle"]
    assert tokenizer.tokenize("über GRÜN") == ["über", "grün"]
    assert tokenizer.tokenize("左上角") == ["左", "上", "角"]


def test_the_vocabulary_of_the_german_demo_knows_every_german_word():
    cfg = load_config(Path(__file__).parents[3] / "configs/demo/toy_german.py")
    tokenizer = TOKENIZERS.build(cfg.tokenizer)
    for kind in ("image", "region", "video"):
        world = ToyWorld(kind=kind, num_scenes=300, languages=("de",), objects=(1, 2))
        for record in map(world.record, range(300)):
            captions = [record["caption"]] if "caption" in record else [elem["caption"] for elem in record["elems"]]
            assert tokenizer.unk_token_id not in tokenizer(" ".join(text["de"] for text in captions))["input_ids"]
