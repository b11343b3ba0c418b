"""Tokenizers, and token ids of texts."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from x2vlm.data.io.paths import existing_file
from x2vlm.registry import TOKENIZERS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str | tuple[str, str]], max_tokens: int | None
) -> list[list[int]]:
    """Token ids: ``[CLS]``, pieces cut so that all fits into ``max_tokens``, ``[SEP]``.

    [CLS] and [SEP] are the tokenizer's (perhaps ``<s>`` and ``</s>``); nothing is padded. A pair of sentences is
    encoded as the tokenizer encodes pairs (``[CLS] a [SEP] b [SEP]``), the longer one cut first. None cuts nothing.
    """
    single = [text for text in texts if isinstance(text, str)]
    singles = iter(_tokenize_single(tokenizer, single, max_tokens) if single else ())
    return [next(singles) if isinstance(text, str) else _tokenize_pair(tokenizer, *text, max_tokens) for text in texts]


def _tokenize_single(tokenizer: "PreTrainedTokenizerBase", texts: list[str], max_tokens: int | None) -> list[list[int]]:
    cut = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens - 2}
    options = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    pieces = tokenizer(texts, **options, **cut)["input_ids"]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id  # each access is a look-up
    return [[first, *ids, last] for ids in pieces]


def _tokenize_pair(tokenizer: "PreTrainedTokenizerBase", first: str, second: str, max_tokens: int | None) -> list[int]:
    cut = {} if max_tokens is None else {"truncation": "longest_first", "max_length": max_tokens}
    return tokenizer(first, second, return_attention_mask=False, return_token_type_ids=False, **cut)["input_ids"]


def display_text(text: str | tuple[str, str]) -> str:
    """A text for display: a pair of sentences is joined by a bar."""
    return text if isinstance(text, str) else " | ".join(text)


@TOKENIZERS.register_module(name="HFTokenizer")
def hf_tokenizer(path: str | PathLike) -> "PreTrainedTokenizerBase":
    """The transformers tokenizer of a folder or a hub name.

    Args:
        path: A folder with a saved tokenizer, or a name on the hub (which has to be in the local cache, or reachable).

    Raises:
        ValueError: If there is none, or its vocabulary has special tokens only.
    """
    from transformers import AutoTokenizer, PreTrainedConfig  # slow to import

    # Asked for a tokenizer, transformers warns of the config of a model folder, whose model it does not know.
    config = {"config": PreTrainedConfig()} if _is_model_folder(path) else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False, **config)
    except OSError as error:
        raise ValueError(
            f"no tokenizer can be read from {str(path)!r}: it is neither a folder with one nor a name that the hub or "
            "the local cache knows. Give a folder, or a vocabulary file to BertVocab."
        ) from error
    except Exception as error:  # the tokenizers' library raises nothing more special
        raise ValueError(f"the tokenizer in {str(path)!r} is broken: {error}") from error
    return _checked_vocabulary(tokenizer, str(path))


def _is_model_folder(path: str | PathLike) -> bool:
    """Whether ``save_pretrained`` of this library wrote the folder."""
    try:
        return "x2vlm" in json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


@TOKENIZERS.register_module(name="BertVocab")
def bert_vocab(vocab: str | PathLike | Sequence[str], lowercase: bool = True) -> "PreTrainedTokenizerBase":
    """A BERT WordPiece tokenizer from its vocabulary.

    Args:
        vocab: A file with one word piece a line, or a sequence of word pieces. Special tokens that such a
            sequence lacks are put in front; a file must have them, since its line numbers are the ids of trained
            weights.
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
        repeated = next(piece for piece in pieces if pieces.count(piece) > 1)
        raise ValueError(f"{name} has {repeated!r} twice")
    return _checked_vocabulary(BertTokenizer(vocab=ids, do_lower_case=lowercase), name)


def _checked_vocabulary(tokenizer: "PreTrainedTokenizerBase", name: str) -> "PreTrainedTokenizerBase":
    """The tokenizer, unless it has special tokens only (what transformers makes of a vocabulary it did not find)."""
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ValueError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens, all of them special ones: its vocabulary was not "
            "found. Every word would be unknown. Give a folder that holds it, or a vocabulary file to BertVocab."
        )
    return tokenizer
