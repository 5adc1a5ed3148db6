"""Small tokenizers of three kinds: bytes, characters with bytes for the others, characters alone."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
CHARACTERS = "吾輩は猫である。名前まだ無いどこで生れたか"


def byte_level(folder: Path, *, vocab_size: int = 300) -> Path:
    """Byte-level BPE: knows every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([CHARACTERS * 3], trainer)
    return _save(tokenizer, folder)


def byte_fallback(folder: Path) -> Path:
    """Some characters, and bytes for all others: knows every text."""
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *dict.fromkeys(CHARACTERS)]
    return _characters(folder, pieces, bytes_too=True)


def without_bytes(folder: Path) -> Path:
    """Some characters, and `<unk>` for all others."""
    return _characters(folder, [*SPECIAL, "▁", *dict.fromkeys(CHARACTERS)], bytes_too=False)


def _characters(folder: Path, pieces: list[str], *, bytes_too: bool) -> Path:
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=bytes_too))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(SPECIAL)
    return _save(tokenizer, folder)


def _save(tokenizer: Tokenizer, folder: Path) -> Path:
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL, strict=True))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 160,
        "clean_up_tokenization_spaces": False,
        **named,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(named), encoding="utf-8")
    return folder
