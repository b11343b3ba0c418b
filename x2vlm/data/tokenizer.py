"""Texts before the model: clean-up, choice among captions, words that tell left from right, tokenizers."""

import random
import re
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from x2vlm.data.io.paths import existing_file
from x2vlm.registry import TOKENIZERS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_TO_SPACE = str.maketrans(dict.fromkeys(",.'!?\"()*#:;~-/", " "))
_WIDTHLESS = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))
_SPACES = re.compile(r"\s{2,}")

# Left and right, by the beginnings of words; a word too many only leaves a picture unflipped.
_SIDES = re.compile(
    r"\b(?:left|right"  # English: also leftmost, right-hand
    r"|link[es]|recht[es]|gauche|droit|izquierd|derech|sinistr|destr|esquerd|direit"  # German, Romance languages
    r"|vlevo|nalevo|zleva|lev[ýáéo]|vpravo|napravo|zprava|prav[ýáéo])"  # Czech
    r"|[左右]",  # Chinese, Japanese
    re.IGNORECASE,
)


def clean_caption(text: str, max_words: int | None = None) -> str:
    """A caption as the published method reads it.

    Lower case; each of ``, . ' ! ? " ( ) * # : ; ~ - /`` becomes a space, ``<person>`` becomes ``person``, runs of
    white-space become one space, the ends are stripped.

    Args:
        text: The raw caption.
        max_words: Keep so many words; None keeps all. (Published: the number of tokens, which are cut later anyway.)

    Raises:
        ValueError: If nothing is left.
    """
    cleaned = _SPACES.sub(" ", _without_signs(text)).rstrip("\n").strip(" ")
    return _first_words(cleaned, max_words, text)


def clean_question(text: str, max_words: int | None = None, published: bool = False) -> str:
    """A question: as a caption, but inner spaces stay as they are, and only the right end is stripped.

    Args:
        text: The raw question.
        max_words: Keep so many words; None keeps all.
        published: Keep ``<`` and ``>`` of ``<person>``, and line ends wherever they are, as the release does.

    Raises:
        ValueError: If nothing is left.
    """
    if published:
        return _first_words(text.lower().translate(_TO_SPACE).rstrip(" "), max_words, text)
    return _first_words(_without_signs(text).rstrip("\n").rstrip(" "), max_words, text)


def clean_text(text: str, max_words: int | None = None, minimum_words: int = 1) -> str:
    """A sentence of plain text: lower case and white-space only; punctuation stays.

    Raises:
        ValueError: If fewer than ``minimum_words`` words are there.
    """
    cleaned = _SPACES.sub(" ", text.lower()).rstrip("\n").strip(" ")
    if len(cleaned.split()) < minimum_words:
        raise ValueError(f"{text!r:.80} has fewer than {minimum_words} words")
    return _first_words(cleaned, max_words, text)


def _without_signs(text: str) -> str:
    return text.lower().translate(_TO_SPACE).replace("<person>", "person")


def _first_words(text: str, max_words: int | None, raw: str) -> str:
    if max_words is not None:
        text = " ".join(text.split(" ")[:max_words])
    if is_blank(text):
        raise ValueError(f"nothing is left of the text {raw!r:.80} after clean-up")
    return text


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: it is empty, or white-space and characters without width."""
    return not text.translate(_WIDTHLESS).strip()


def choose_text(value: str | Sequence | dict, language: str | None = None) -> str:
    """One text: of a list one at random, of a dict by language one language at random unless one is named.

    Of a list, empty texts are left out.

    Raises:
        ValueError: If there is none (in that language), or it is no text.
    """
    if isinstance(value, dict):
        value = _in_language(value, language)
    if isinstance(value, list | tuple):
        value = [one for one in value if not (isinstance(one, str) and is_blank(one))]
        if not value:
            raise ValueError("the list of texts is empty")
        value = random.choice(value)
    return _checked(value)


def every_text(value: str | Sequence | dict, language: str | None = None) -> list[str]:
    """All texts, in order: those of a list, and of every language of a dict unless one is named.

    Raises:
        ValueError: If there is none (in that language), or one is no text.
    """
    if isinstance(value, dict):
        if language is None:
            return [text for texts in value.values() if texts for text in every_text(texts)] or every_text([])
        value = _in_language(value, language)
    texts = [_checked(text) for text in (value if isinstance(value, list | tuple) else [value])]
    if not texts:
        raise ValueError("the list of texts is empty")
    return texts


def _in_language(by_language: dict, language: str | None) -> Any:
    spoken = [name for name, texts in by_language.items() if texts]
    if language is None and spoken:
        return by_language[random.choice(spoken)]
    if language not in spoken:
        raise ValueError(f"there is no text in language {language!r}, only in: {', '.join(map(str, spoken)) or 'none'}")
    return by_language[language]


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"expected a text, got {text!r:.80}")
    try:
        text.encode()  # JSON can hold half a character, at which tokenizers break
    except UnicodeEncodeError as error:
        raise ValueError(f"the text {text!r:.80} has a character that is not complete") from error
    return text


def mentions_side(text: str) -> bool:
    """Whether the text tells left from right, so that a mirrored picture would make it wrong.

    Knows English, German, French, Spanish, Italian, Portuguese, Czech, Chinese and Japanese. When in doubt, yes.
    """
    return _SIDES.search(text) is not None


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str | tuple[str, str]], max_tokens: int | None
) -> list[list[int]]:
    """Token ids: ``[CLS]``, pieces cut so that all fits into ``max_tokens``, ``[SEP]``.

    Whatever the tokenizer calls these two (``<s>`` and ``</s>``); not padded. Two sentences in one stand as the
    tokenizer's own model reads pairs (``[CLS] a [SEP] b [SEP]``), the longer one cut first. None cuts nothing.
    """
    single = [text for text in texts if isinstance(text, str)]
    rows = iter(_single(tokenizer, single, max_tokens) if single else ())
    return [next(rows) if isinstance(text, str) else _pair(tokenizer, *text, max_tokens) for text in texts]


def _single(tokenizer: "PreTrainedTokenizerBase", texts: list[str], max_tokens: int | None) -> list[list[int]]:
    cut = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens - 2}
    options = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    pieces = tokenizer(texts, **options, **cut)["input_ids"]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id  # a look-up each time they are asked for
    return [[first, *ids, last] for ids in pieces]


def _pair(tokenizer: "PreTrainedTokenizerBase", first: str, second: str, max_tokens: int | None) -> list[int]:
    cut = {} if max_tokens is None else {"truncation": "longest_first", "max_length": max_tokens}
    return tokenizer(first, second, return_attention_mask=False, return_token_type_ids=False, **cut)["input_ids"]


def as_one(text: str | tuple[str, str]) -> str:
    """A text to show to people: two sentences in one with a bar between."""
    return text if isinstance(text, str) else " | ".join(text)


@TOKENIZERS.register_module(name="HFTokenizer")
def hf_tokenizer(path: str | PathLike) -> "PreTrainedTokenizerBase":
    """The transformers tokenizer of a folder or a hub name.

    Args:
        path: A folder with a saved tokenizer, or a name on the hub (which has to be in the local cache, or reachable).

    Raises:
        ValueError: If there is none, or it knows no words.
    """
    from transformers import AutoTokenizer  # slow to import

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except OSError as error:
        raise ValueError(
            f"no tokenizer can be read from {str(path)!r}: it is neither a folder with one nor a name that the hub or "
            "the local cache knows. Give a folder, or a vocabulary file to BertVocab."
        ) from error
    except Exception as error:  # the tokenizers' library raises nothing more special
        raise ValueError(f"the tokenizer in {str(path)!r} is broken: {error}") from error
    return _with_words(tokenizer, str(path))


@TOKENIZERS.register_module(name="BertVocab")
def bert_vocab(vocab: str | PathLike | Sequence[str], lowercase: bool = True) -> "PreTrainedTokenizerBase":
    """A BERT WordPiece tokenizer from its vocabulary.

    Args:
        vocab: A file with one piece a line, or the pieces themselves. Special tokens that such a list lacks are put in
            front; a file must have them, since its line numbers are the ids of trained weights.
        lowercase: Lower-case texts and strip accents, as BERT-uncased does.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If pieces are missing or written twice.
    """
    from transformers import BertTokenizer  # slow to import

    from_file = isinstance(vocab, str | PathLike)
    name = str(vocab) if from_file else f"the list of {len(vocab)} words"
    pieces = existing_file(vocab, "vocab").read_text("utf-8").rstrip("\n").split("\n") if from_file else list(vocab)
    pieces = [piece.rstrip("\r") for piece in pieces]
    missing = [token for token in SPECIAL_TOKENS if token not in set(pieces)]
    if missing and from_file:
        raise ValueError(f"{name} is no BERT vocabulary: it has no {', '.join(missing)}")
    ids = {piece: index for index, piece in enumerate([*missing, *pieces])}
    if len(ids) != len(missing) + len(pieces):
        twice = next(piece for piece in pieces if pieces.count(piece) > 1)
        raise ValueError(f"{name} has {twice!r} twice")
    return _with_words(BertTokenizer(vocab=ids, do_lower_case=lowercase), name)


def _with_words(tokenizer: "PreTrainedTokenizerBase", name: str) -> "PreTrainedTokenizerBase":
    """The tokenizer, unless it knows special tokens only (what transformers makes of a vocabulary it did not find)."""
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ValueError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens, all of them special ones: its vocabulary was not "
            "found. Every word would be unknown. Give a folder that holds it, or a vocabulary file to BertVocab."
        )
    return tokenizer
