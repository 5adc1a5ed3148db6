"""SentencePiece and its fast twin spell everything the same, hostile text included."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from conftest import japanese_text
from tsumugu.tokenizer.config import SPECIAL_TOKENS
from tsumugu.tokenizer.export import FAST, differing_documents, load_sentencepiece

HOSTILE = [
    "",
    " ",
    "\n\n\n",
    "  先頭の空白と  中の空白  ",
    "タグ</s>の<s>ような<unk>文字列<pad>や<mask>です",
    "<0x0A><0xE3>",
    "絵文字👨‍👩‍👧‍👦と𠮷と\U0010ffff",
    "\t\x00\x7f制御文字",
    "e\u0301 ｶﾞ ㌔ ﷺ",
    "한국어와 العربية и русский",
    "あ" * 3000,
    "\u3000全角空白\u3000",
    japanese_text(77),
    # Sums of scores over a long document, and ties between runs of spaces.
    "\n".join(japanese_text(number) for number in range(300)),
    "\n".join(" " * (number % 23) + "×8 " + " " * (number % 7) + "音符 (c  d)" for number in range(3000)),
]


def test_ids_are_equal_and_decoding_gives_the_text_back(finished_run: Path) -> None:
    assert differing_documents(finished_run / "tokenizer", HOSTILE) == []


def test_transformers_loads_the_folder_and_agrees(finished_run: Path) -> None:
    processor = load_sentencepiece(finished_run / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "tokenizer")
    for text in HOSTILE:
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == processor.encode(text), text
    assert tokenizer.bos_token_id == 1
    assert tokenizer.eos_token_id == 2
    assert tokenizer.pad_token_id == 3
    assert len(tokenizer) == processor.get_piece_size()


def test_special_tokens_have_line_s_ids(finished_run: Path) -> None:
    processor = load_sentencepiece(finished_run / "tokenizer")
    assert [processor.id_to_piece(index) for index in range(8)] == [*SPECIAL_TOKENS, "\n"]
    assert sum(processor.is_byte(index) for index in range(processor.get_piece_size())) == 256


def test_a_twin_that_differs_is_noticed(finished_run: Path, tmp_path: Path) -> None:
    source = finished_run / "tokenizer"
    for name in ("spiece.model", FAST):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    twin = Tokenizer.from_file(str(tmp_path / FAST))
    twin.normalizer = None
    twin.save(str(tmp_path / FAST))
    assert differing_documents(tmp_path, ["空白 がある", "ない"]) == [0]
