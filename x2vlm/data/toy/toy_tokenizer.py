"""The vocabulary and the tokenizer of the toy world."""

from typing import Any

from x2vlm.data.tokenizer import SPECIAL_TOKENS
from x2vlm.data.toy.vocabulary import task_words, vocabulary
from x2vlm.registry import TOKENIZERS


def toy_vocabulary(tasks: bool = False) -> list[str]:
    """The WordPiece vocabulary that covers the toy world in all its languages, the five special tokens first.

    Args:
        tasks: Append the words of ``ToyQuestions`` and ``ToyPairs``.
    """
    return [*SPECIAL_TOKENS, *vocabulary(), *(task_words() if tasks else ())]


@TOKENIZERS.register_module(name="ToyTokenizer")
def toy_tokenizer(tasks: bool = False) -> Any:
    """A lower-casing BERT tokenizer over ``toy_vocabulary()``; Chinese is split into characters.

    Args:
        tasks: Include the words of ``ToyQuestions`` and ``ToyPairs`` too; the other ids stay the same.
    """
    from transformers import BertTokenizer  # slow to import, and not needed to draw scenes

    ids = {token: index for index, token in enumerate(toy_vocabulary(tasks))}
    # Accents are kept: German tells "u" from "ü", and the vocabulary has both.
    tokenizer = BertTokenizer(vocab=ids, do_lower_case=True, strip_accents=False, tokenize_chinese_chars=True)
    if len(tokenizer) != len(ids):
        raise ValueError(f"ToyTokenizer: the tokenizer holds {len(tokenizer)} tokens, the vocabulary {len(ids)}.")
    return tokenizer
