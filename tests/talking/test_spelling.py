"""Text is shown when it is whole: never half a character, never a special token, never a stop text."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import byte_fallback, byte_level, without_bytes
from tokenizers import Tokenizer

from tsumugu.talking.spelling import Spelling, Text, spelling_of
from tsumugu.tokenizer.encoder import load_encoder

Make = Callable[[Path], Path]
_TEXT = "吾輩は猫である。\n名前🐈‍⬛はまだ無い é  x"


def spelling_in(folder: Path) -> tuple[Spelling, Tokenizer]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    subject: Any = SimpleNamespace(
        encode=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        decode=lambda ids: tokenizer.decode(list(ids), skip_special_tokens=True),
        name_of=lambda index: tokenizer.id_to_token(index) or "",
        unk_id=0,
    )
    return spelling_of(subject), tokenizer


@pytest.fixture(scope="module")
def spellings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Spelling, Tokenizer]]:
    base = tmp_path_factory.mktemp("tokenizers")
    makers: dict[str, Make] = {
        "byte_level": byte_level, "byte_fallback": byte_fallback, "without_bytes": without_bytes,
    }  # fmt: skip
    return {name: spelling_in(make(base / name)) for name, make in makers.items()}


def pieces(spelling: Spelling, tokens: Sequence[int], stops: Sequence[str] = ()) -> list[str]:
    text = Text(spelling, before=None, stops=stops)
    found = []
    for token in tokens:
        new, stopped = text.add(token)
        found.append(new)
        if stopped:
            return found
    return [*found, text.end()]


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_pieces_of_a_text_are_the_text_in_whole_characters(
    spellings: dict[str, tuple[Spelling, Tokenizer]], kind: str
) -> None:
    spelling, tokenizer = spellings[kind]
    tokens = tokenizer.encode(_TEXT, add_special_tokens=False).ids
    found = pieces(spelling, tokens)
    assert "".join(found) == _TEXT
    assert "" in found, "no token was a part of a character"


def said(spelling: Spelling, spelled: bytes, errors: str) -> str:
    text = spelled.decode("utf-8", errors)
    return text.replace("▁", " ") if spelling.has_space_sign else text


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
@settings(max_examples=40)
@given(data=st.data())
def test_no_glyph_is_ever_broken(
    spellings: dict[str, tuple[Spelling, Tokenizer]], kind: str, data: st.DataObject
) -> None:
    spelling, tokenizer = spellings[kind]
    # Any tokens, and as often those of text that is cut somewhere.
    anything = st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=30)
    text = st.text(max_size=8).map(lambda one: tokenizer.encode(one, add_special_tokens=False).ids)
    cut = st.tuples(text, st.integers(0, 30)).map(lambda one: one[0][: one[1]])
    tokens = [token for part in data.draw(st.lists(anything | text | cut, max_size=4)) for token in part]
    spelled = b"".join(spelling.bytes_of(token, None) for token in tokens)
    found = pieces(spelling, tokens)
    whole = said(spelling, spelled, "replace")
    assert "".join(found) == whole
    # What was shown before the end is never taken back, and has no mark that later bytes would mend.
    shown = ""
    for place, piece in enumerate(found[:-1]):
        shown += piece
        so_far = b"".join(spelling.bytes_of(token, None) for token in tokens[: place + 1])
        assert said(spelling, so_far, "ignore").startswith(shown.replace("\ufffd", ""))
        assert whole.startswith(shown)
    assert found[-1] in ("", "\ufffd")


def test_special_tokens_and_unknown_ones_are_never_shown(
    spellings: dict[str, tuple[Spelling, Tokenizer]],
) -> None:
    for spelling, tokenizer in spellings.values():
        ids = [tokenizer.get_vocab()[name] for name in ("<s>", "</s>", "<pad>", "<unk>")]
        word = tokenizer.encode("猫", add_special_tokens=False).ids
        assert "".join(pieces(spelling, [*ids, *word, *ids, *word])) == "猫猫"


def test_a_runs_sentencepiece_and_its_fast_twin_spell_alike(finished_run: Path) -> None:
    encoder = load_encoder(finished_run / "tokenizer")
    subject: Any = SimpleNamespace(
        encode=encoder.encode, decode=encoder.decode, name_of=encoder.name_of, unk_id=encoder.unk_id
    )
    ours, (fast, _) = spelling_of(subject), spelling_in(finished_run / "tokenizer")
    for token in range(encoder.vocab_size):
        assert ours.bytes_of(token, None) == fast.bytes_of(token, None), encoder.name_of(token)
    tokens = encoder.encode(_TEXT)
    assert "".join(pieces(ours, tokens)) == _TEXT


def test_a_space_after_the_prompt_stays() -> None:
    names = ["犬", "▁猫"]
    # A decoder that takes the space away at the beginning of a text.
    spelling = Spelling(
        decode=lambda ids: "".join(names[index] for index in ids).replace("▁", " ").removeprefix(" "),
        name_of=names.__getitem__,
        letters={},
        silent=frozenset(),
    )
    text = Text(spelling, before=spelling.last_text([0]), stops=())
    assert text.add(1) == (" 猫", False)
    assert Text(spelling, before=None, stops=()).add(1) == ("猫", False)
    assert text.add(1) == (" 猫", False)


def test_what_may_become_a_stop_text_is_held_back() -> None:
    names = ["あ", "\n", "ユーザー", ":", "\n\nユ"]
    spelling = Spelling(
        decode=lambda ids: "".join(names[index] for index in ids),
        name_of=names.__getitem__,
        letters={},
        silent=frozenset(),
    )
    assert pieces(spelling, [0, 1, 2, 3, 0], ["\nユーザー:"]) == ["あ", "", "", ""]
    assert pieces(spelling, [0, 1, 2, 0], ["\nユーザー:"]) == ["あ", "", "", "\nユーザーあ", ""]
    assert pieces(spelling, [0, 1, 2], ["\nユーザー:", "\n\n"]) == ["あ", "", "", "\nユーザー"]
    assert pieces(spelling, [0, 4, 0], ["\nユーザー:"]) == ["あ", "\n", "\nユあ", ""]
