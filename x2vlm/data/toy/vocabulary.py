"""The words of the toy world in English, German and Chinese, and the vocabulary that covers them.

Keys are concepts (mostly the English word), values are the words of a language for them.
"""

from collections.abc import Iterable
from itertools import chain

from x2vlm.data.toy.drawn_shapes import COLORS, SHAPES, SIZES

ENGLISH = {
    "top left": "at the top left",
    "top": "at the top",
    "top right": "at the top right",
    "left": "on the left",
    "middle": "in the middle",
    "right": "on the right",
    "bottom left": "at the bottom left",
    "bottom": "at the bottom",
    "bottom right": "at the bottom right",
    "left of": "left of",
    "right of": "right of",
    "above": "above",
    "below": "below",
    "moves left": "moves left",
    "moves right": "moves right",
    "moves up": "moves up",
    "moves down": "moves down",
    "moves still": "stands still",
    "here": "here is",
    "there": "there is",
    "and": "and",
}
GERMAN = {
    "top left": "oben links",
    "top": "oben",
    "top right": "oben rechts",
    "left": "links",
    "middle": "in der Mitte",
    "right": "rechts",
    "bottom left": "unten links",
    "bottom": "unten",
    "bottom right": "unten rechts",
    "left of": "links von",
    "right of": "rechts von",
    "above": "über",
    "below": "unter",
    "moves left": "bewegt sich nach links",
    "moves right": "bewegt sich nach rechts",
    "moves up": "bewegt sich nach oben",
    "moves down": "bewegt sich nach unten",
    "moves still": "steht still",
    "here": "hier ist",
    "there": "da ist",
    "and": "und",
    "small": "klein",
    "large": "groß",
    "red": "rot",
    "green": "grün",
    "blue": "blau",
    "yellow": "gelb",
    "purple": "violett",
    "orange": "orangefarben",
    "white": "weiß",
    "black": "schwarz",
    "pink": "rosafarben",
    "brown": "braun",
    "cyan": "türkisfarben",
    "olive": "olivgrün",
    "circle": "Kreis",
    "square": "Quadrat",
    "triangle": "Dreieck",
    "star": "Stern",
    "cross": "Kreuz",
    "ring": "Ring",
    "diamond": "Raute",
    "hexagon": "Sechseck",
}
GENDERS = dict.fromkeys(("circle", "star", "ring"), "m") | {"diamond": "f"}  # the others are neuter
CHINESE = {
    "top left": "在左上角",
    "top": "在上方",
    "top right": "在右上角",
    "left": "在左边",
    "middle": "在中间",
    "right": "在右边",
    "bottom left": "在左下角",
    "bottom": "在下方",
    "bottom right": "在右下角",
    "left of": "左边",
    "right of": "右边",
    "above": "上方",
    "below": "下方",
    "moves left": "向左移动",
    "moves right": "向右移动",
    "moves up": "向上移动",
    "moves down": "向下移动",
    "moves still": "静止不动",
    "here": "这里有",
    "there": "图中有",
    "small": "小",
    "large": "大",
    "red": "红色",
    "green": "绿色",
    "blue": "蓝色",
    "yellow": "黄色",
    "purple": "紫色",
    "orange": "橙色",
    "white": "白色",
    "black": "黑色",
    "pink": "粉色",
    "brown": "棕色",
    "cyan": "青色",
    "olive": "橄榄色",
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "star": "星形",
    "cross": "十字形",
    "ring": "圆环",
    "diamond": "菱形",
    "hexagon": "六边形",
}
POSITIONS = tuple(ENGLISH)[:9]
ARTICLE_ZH, AT_ZH, OF_ZH, COMMA_ZH = "一个", "在", "的", "，"  # noqa: RUF001

# Nominative and dative of "ein", and the ending of the adjectives after it.
ARTICLES = {"m": ("ein", "einem"), "f": ("eine", "einer"), "n": ("ein", "einem")}
ENDINGS = {"m": ("er", "en"), "f": ("e", "en"), "n": ("es", "en")}
BARE_ENDINGS = {"m": ("er", "em"), "f": ("e", "er"), "n": ("es", "em")}  # of adjectives without an article

WORDS = {"en": ENGLISH, "de": GERMAN, "zh": CHINESE}
# Words that the vocabulary holds in pieces, so that masking whole words has something to do.
_PIECES = {
    "triangle": ("tri", "##angle"),
    "hexagon": ("hexa", "##gon"),
    "dreieck": ("drei", "##eck"),
    "sechseck": ("sechs", "##eck"),
    "orangefarben": ("orange", "##farben"),
    "rosafarben": ("rosa", "##farben"),
    "türkisfarben": ("türkis", "##farben"),
    "olivgrün": ("oliv", "##grün"),
}


def vocabulary() -> list[str]:
    """Word pieces that cover every caption and phrase, sorted, each once."""
    names = {*SIZES, *COLORS, *SHAPES}
    english = {"a", "an", *names, *_words(ENGLISH.values())}
    stems = {GERMAN[name].lower() for name in names}
    german = {*stems, *_words(article for pair in ARTICLES.values() for article in pair)}
    german |= _words(text for key, text in GERMAN.items() if key not in names)
    endings = {"##" + ending for pair in (*ENDINGS.values(), *BARE_ENDINGS.values()) for ending in pair}
    pieces = set(chain.from_iterable(_PIECES.get(word, (word,)) for word in english | german))
    return sorted(pieces | endings | set("".join((*CHINESE.values(), ARTICLE_ZH, AT_ZH, OF_ZH, COMMA_ZH, ","))))


def task_words(most: int = 8) -> list[str]:
    """Words of questions, answers and statements about images, beyond those of :func:`vocabulary`, sorted.

    Args:
        most: The largest number.
    """
    words = "what color shape size is the thing things how many are there where a an left right of above below yes no"
    words += " both pictures picture show shows only one and does not more than"
    words += " ".join(["", *POSITIONS, *map(str, range(most + 1))])
    return sorted(set(words.split()) - set(vocabulary()))


def _words(texts: Iterable[str]) -> set[str]:
    return set(" ".join(texts).lower().split())
