"""Tokens to text while they come: a character is shown when it is whole, and not before.

Vocabularies with byte fallback or byte-level BPE have tokens that are parts of characters. What each
token stands for is therefore worked out in bytes, and an incremental decoder of UTF-8 keeps those of a
character that is not whole yet. Bytes that can never become one are a single U+FFFD. Other tokens have
the text that they add to the token before them, since decoders take spaces away at the beginning of a
text, or join what belongs to one word.
"""

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tsumugu.evaluation.subject import Subject
from tsumugu.tokenizer.encoder import byte_letters
from tsumugu.tokenizer.presets import SPACE

_BYTE = re.compile("<0x([0-9A-F]{2})>")
_PROBE = "é あ"
"""Text that only a byte-level vocabulary spells in letters that stand for its bytes."""
_SPACES = f"あ{SPACE}あ"
"""Text that is spelled as one with a space where U+2581 is the sign for it."""


@dataclass(frozen=True)
class Spelling:
    """What tokens stand for."""

    decode: Callable[[Sequence[int]], str]
    name_of: Callable[[int], str]
    letters: dict[str, int]
    """Of a byte-level vocabulary: the byte of each letter; empty for others."""
    silent: frozenset[int]
    """Tokens that are never shown; special ones, which decode to nothing, need not be among them."""
    has_space_sign: bool = False
    """Whether U+2581 is a space, also where it is spelled in bytes."""

    def bytes_of(self, token: int, before: int | None) -> bytes:
        """UTF-8 bytes of a token, after the token `before`, as `last_text` gives it."""
        if token in self.silent:
            return b""
        byte = self._byte(token)
        if byte is not None:
            return byte
        text = self.decode([token])
        if self.letters:
            name = self.name_of(token)
            if text and all(letter in self.letters for letter in name):
                return bytes(self.letters[letter] for letter in name)
            return text.encode()
        if before is not None:
            first, both = self.decode([before]), self.decode([before, token])
            if both.startswith(first):
                return both[len(first) :].encode()
        return text.encode()

    def last_text(self, tokens: Sequence[int]) -> int | None:
        """The last of `tokens` that is text of its own, neither special nor a byte."""
        return next((token for token in reversed(tokens) if self._is_text(token)), None)

    def _is_text(self, token: int) -> bool:
        return token not in self.silent and self._byte(token) is None and bool(self.decode([token]))

    def _byte(self, token: int) -> bytes | None:
        name = self.name_of(token)
        found = _BYTE.fullmatch(name)
        # Elsewhere such a name may be ordinary text.
        return bytes([int(found[1], 16)]) if found and self.decode([token]) != name else None


def spelling_of(subject: Subject) -> Spelling:
    """How a model's tokenizer spells."""
    letters = byte_letters()
    names = "".join(map(subject.name_of, subject.encode(_PROBE)))
    spelled = bytes(letters[letter] for letter in names if letter in letters)
    return Spelling(
        decode=subject.decode,
        name_of=subject.name_of,
        # Some begin every text with a space.
        letters=letters if spelled.endswith(_PROBE.encode()) else {},
        silent=frozenset() if subject.unk_id is None else frozenset({subject.unk_id}),
        has_space_sign=subject.encode(_SPACES) == subject.encode(_SPACES.replace(SPACE, " ")),
    )


class Text:
    """A text that is being written; it gives out what can no longer change."""

    def __init__(self, spelling: Spelling, *, before: int | None, stops: Sequence[str]) -> None:
        """Begin a text.

        Args:
            spelling: what tokens stand for.
            before: the last token of text in front of it; None: it begins a document.
            stops: texts that end it and are no part of it.
        """
        self._spelling, self._before = spelling, before
        self._stops = [stop for stop in stops if stop]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.tokens: list[int] = []

    def add(self, token: int) -> tuple[str, bool]:
        """Take one more token; the text that is certain now, and whether a stop text ended it."""
        self.tokens.append(token)
        new = self._decoder.decode(self._spelling.bytes_of(token, self._before))
        if self._spelling.last_text([token]) is not None:
            self._before = token
        return self._give(new)

    def end(self) -> str:
        """What was held back."""
        text, stopped = self._give(self._decoder.decode(b"", final=True))
        return text if stopped else text + self._held

    def _give(self, new: str) -> tuple[str, bool]:
        self._held += new.replace(SPACE, " ") if self._spelling.has_space_sign else new
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            return self._held[: min(places)], True
        kept = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        sure = len(self._held) - kept
        text, self._held = self._held[:sure], self._held[sure:]
        return text, False


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
