"""Small tokenizers of every kind, each made once in a session."""

import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece as spm

from conftest import japanese_text
from tsumugu.files import write_json
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.existing import write_existing
from tsumugu.tokenizer.presets import SPECIAL_TOKENS, PresetName
from tsumugu.tokenizer.sampling import Document
from tsumugu.tokenizer.training import train_sentencepiece

DOCUMENTS = [
    *(japanese_text(number) for number in range(60)),
    *(
        f"    if x{number}:\n\t\treturn {number}  # ２０{number}年ｶﾞﾗｽ\u3000 <s> The end"
        for number in range(60)
    ),
]


def train(**settings: Any) -> bytes:
    """A model as somebody else would train it, with LINE's ids."""
    written = io.BytesIO()
    usual = {
        "model_type": "unigram",
        "vocab_size": 700,
        "byte_fallback": True,
        "unk_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": 3,
        "control_symbols": ["<sep>", "<mask>", "<cls>"],
        "hard_vocab_limit": False,
        "num_threads": 2,
        "minloglevel": 2,
    }
    lines = [line for document in DOCUMENTS for line in document.split("\n")]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=written, **{**usual, **settings}
    )
    return written.getvalue()


MODELS: dict[str, Callable[[], bytes]] = {
    "japanese-large-lm": lambda: _preset("japanese-large-lm"),
    "modern": lambda: _preset("modern"),
    "identity, dummy prefix": lambda: train(
        normalization_rule_name="identity", remove_extra_whitespaces=False
    ),
    "identity, user-defined": lambda: train(
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n", "▁▁", "▁▁▁▁", "年の", "<q>", "ｶﾞ"],
    ),
    "SentencePiece's defaults": lambda: train(),
    "nfkc, white space kept": lambda: train(
        normalization_rule_name="nfkc", remove_extra_whitespaces=False, user_defined_symbols=["\n", "①"]
    ),
    "nmt_nfkc, user-defined line break": lambda: train(
        remove_extra_whitespaces=False, add_dummy_prefix=False, user_defined_symbols=["\n", "\r"]
    ),
    "no byte fallback": lambda: train(
        byte_fallback=False,
        normalization_rule_name="identity",
        character_coverage=0.99,
        required_chars="</>spadmkclun",
    ),
}


def _preset(preset: PresetName) -> bytes:
    documents = [Document("test", text) for text in DOCUMENTS]
    return train_sentencepiece(documents, TokenizerConfig(vocab_size=700, preset=preset))[0]


@functools.cache
def given_model(name: str) -> bytes:
    """The `.model` file of one of `MODELS`."""
    return MODELS[name]()


@functools.cache
def written_folder(name: str) -> Path:
    """What the tokenizer stage writes when it is given that `.model` file."""
    folder = Path(_FOLDER.name, name)
    folder.mkdir()
    (folder / "given.model").write_bytes(given_model(name))
    write_existing(folder / "given.model", folder / "written", model_max_length=128)
    return folder / "written"


_FOLDER = tempfile.TemporaryDirectory()


def write_line_form(folder: Path, **settings: Any) -> None:
    """A directory in LINE's slow T5 form: `spiece.model` and a configuration, no `tokenizer.json`."""
    folder.mkdir(exist_ok=True)
    (folder / "spiece.model").write_bytes(given_model("SentencePiece's defaults"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "T5Tokenizer",
            "extra_ids": 0,
            "additional_special_tokens": [],
            "do_lower_case": False,
            "keep_accents": True,
            "sp_model_kwargs": {},
            **SPECIAL_TOKENS,
            **settings,
        },
    )
