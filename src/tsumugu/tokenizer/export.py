"""The fast twin of a SentencePiece model: the same ids from the `tokenizers` library.

A unigram model needs four parts on the Hugging Face side: the pieces with their scores, spaces
written as "▁", byte fallback, and the way back. Equality is not assumed: `differing_documents`
encodes text with both, and the tokenizer stage refuses to release a twin that differs.
"""

from collections.abc import Iterable
from pathlib import Path

import sentencepiece as spm
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from tsumugu.files import write_aside, write_json
from tsumugu.tokenizer.config import SPECIAL_TOKENS

SPIECE = "spiece.model"
FAST = "tokenizer.json"
_SPACE = "▁"
_NEVER = 100


def load_sentencepiece(folder: Path) -> spm.SentencePieceProcessor:
    """The SentencePiece model of a tokenizer folder."""
    return spm.SentencePieceProcessor(model_proto=(folder / SPIECE).read_bytes())


def fast_tokenizer(processor: spm.SentencePieceProcessor) -> Tokenizer:
    """The same tokenizer for the `tokenizers` library."""
    size = processor.get_piece_size()
    scores = [processor.get_score(index) for index in range(size)]
    # SentencePiece never finds "</s>" or "<0x0A>" in a text; its twin looks for every piece, and so
    # these get a score that any spelling in plain pieces (at most six) beats.
    never = _NEVER * min(scores)
    pieces = [
        (processor.id_to_piece(index), never if _not_in_text(processor, index) else scores[index])
        for index in range(size)
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=processor.unk_id(), byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Replace(_SPACE, " "), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
    )
    # A page that shows "</s>" must not end the document: special tokens never come from text.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _not_in_text(processor: spm.SentencePieceProcessor, index: int) -> bool:
    return bool(processor.is_control(index) or processor.is_byte(index) or processor.is_unknown(index))


def write_tokenizer(folder: Path, model: bytes, *, model_max_length: int) -> None:
    """Write `spiece.model`, `tokenizer.json` and the two files that transformers reads beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    with write_aside(folder / SPIECE) as aside:
        aside.write_bytes(model)
    with write_aside(folder / FAST) as aside:
        fast_tokenizer(load_sentencepiece(folder)).save(str(aside))
    unk, bos, eos, pad, sep, mask, cls = SPECIAL_TOKENS
    special = {
        "unk_token": unk,
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "sep_token": sep,
        "mask_token": mask,
        "cls_token": cls,
    }
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": model_max_length,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,
            **special,
        },
    )


def differing_documents(folder: Path, texts: Iterable[str]) -> list[int]:
    """Positions of the texts whose ids differ between the two, or that do not decode to themselves."""
    processor = load_sentencepiece(folder)
    fast = Tokenizer.from_file(str(folder / FAST))
    fast.encode_special_tokens = True
    differing = []
    for index, text in enumerate(texts):
        ids = processor.encode(text)
        same = fast.encode(text, add_special_tokens=False).ids == ids
        # The one character that cannot survive is SentencePiece's own sign for a space.
        exact = _SPACE in text or fast.decode(ids, skip_special_tokens=False) == text
        if not (same and exact):
            differing.append(index)
    return differing
