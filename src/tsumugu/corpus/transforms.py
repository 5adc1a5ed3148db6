"""Changes to the text of a document, before anything is measured on it.

The stored text stays as its author wrote it, except for what no reader would miss: control and
zero-width characters, trailing spaces, runs of empty lines, untranslated paragraphs, and personal
data. In particular it is never brought into a Unicode normal form; signals normalise their own
copies.
"""

import re
import unicodedata
from dataclasses import dataclass

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff\ufffe\uffff]"
)
_SPACES_AT_LINE_END = re.compile(r"(?<![^\S\n])[^\S\n]+$", re.MULTILINE)
_TABS = re.compile(r"(?<! ) *\t[\t ]*")
_EMPTY_LINES = re.compile(r"\n{3,}")
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
# Japanese numbers: 03-1234-5678, 090-1234-5678, 0120-123-456, (03) 1234-5678, +81-3-1234-5678.
_PHONE = re.compile(
    r"(?<![0-9A-Za-z.+-])(?:\+81[- ]?[1-9]\d{0,3}|\(?0[1-9]\d{0,3}\)?)[- ]\d{1,4}-\d{3,4}(?![0-9A-Za-z-])"
)
_JAPANESE = re.compile("[\u3041-\u30ff\u3400-\u9fff]")
_WORD = re.compile(r"(?:^|(?<=\s))[^\W\d_]{2,}(?=[\s,.;:!?)]|$)")
_FOREIGN_WORDS = 8
_JAPANESE_PAGE = 0.2
EMAIL_MASK = "xxxx@example.jp"
PHONE_MASK = "00-0000-0000"


@dataclass(frozen=True)
class Transformed:
    """A document's text after all transforms, and what was masked in it."""

    text: str
    foreign_paragraphs: int
    masked_emails: int
    masked_phone_numbers: int


def transform(text: str) -> Transformed:
    """Tidy the whitespace of `text` and mask e-mail addresses and Japanese phone numbers.

    >>> transform("連絡先は taro@example.org または 03-1234-5678 です。  ").text
    '連絡先は xxxx@example.jp または 00-0000-0000 です。'

    A known false positive: a part number that is written like a phone number.

    >>> transform("品番 052-123-4567").text
    '品番 00-0000-0000'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _INVISIBLE.sub("", text)
    text = _TABS.sub(" ", text)
    text = _SPACES_AT_LINE_END.sub("", text)
    text, foreign = remove_foreign_paragraphs(text)
    text = _EMPTY_LINES.sub("\n\n", text).strip("\n")
    text, emails = _EMAIL.subn(EMAIL_MASK, text)
    text, phones = _PHONE.subn(PHONE_MASK, text)
    return Transformed(text, foreign, emails, phones)


def remove_foreign_paragraphs(text: str) -> tuple[str, int]:
    """`text` without prose in other languages, and how many lines went.

    In a Japanese page such lines are untranslated paragraphs and licence notices. A page of which
    less than a fifth is Japanese stays as it is, for the rules to judge. So does source code: its
    lines seldom hold eight plain words.
    """
    if len(_JAPANESE.findall(text)) < _JAPANESE_PAGE * len(text):
        return text, 0
    lines = text.split("\n")
    kept = [line for line in lines if not _is_foreign_prose(line)]
    return "\n".join(kept), len(lines) - len(kept)


def _is_foreign_prose(line: str) -> bool:
    if len(line) < 4 * _FOREIGN_WORDS or _JAPANESE.search(line):
        return False
    return len(_WORD.findall(line)) >= _FOREIGN_WORDS


def comparable(text: str) -> str:
    """`text` as duplicates are compared: NFKC, case-folded, without white space within lines."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    lines = ("".join(line.split()) for line in folded.split("\n"))
    return "\n".join(line for line in lines if line)
