"""KenLM language models (Heafield 2011): how surprised a model is by a text, as in CC-Net.

The perplexity is 10 ** (-(sum of log10 probabilities) / tokens). Every line is a sentence, with the
model's beginning and end; the end counts as a token (Wenzek et al. 2020, cc_net/perplexity.py).
Tokens are the pieces of a SentencePiece model, or characters that are not white space.

`cc_net` normalisation is what the models published with CC-Net were trained on
(cc_net/text_normalizer.py): lower case, no combining marks (が becomes か), every digit 0, ASCII
punctuation. It deletes line breaks with the other control characters, so that the document is
one sentence.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tsumugu.corpus.config import KenLMModel
from tsumugu.errors import TsumuguError

_PUNCTUATION = str.maketrans(
    {
        **dict(zip("，。、：∶；？！（）〈〉【】％～", ",.,::;?!()<>[]%~", strict=True)),
        **dict.fromkeys("„“”«»「」《》", '"'),
        **dict.fromkeys("´’", "'"),
        **dict.fromkeys("–━►", "-"),
        "—": " - ",
        "．": ". ",
        "…": "...",
    }
)
_DIGIT = re.compile(r"\d")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class LanguageModel:
    """A model, and how a text becomes its tokens."""

    model: Any
    tokenize: Callable[[str], list[str]]
    normalize: Callable[[str], str]


def open_model(config: KenLMModel) -> LanguageModel:
    """Load the model that `config` names; of a binary model only what is used comes into memory.

    Raises:
        TsumuguError: KenLM is not installed, or a file cannot be read.
    """
    try:
        import kenlm
    except ImportError as error:
        raise TsumuguError(
            f"corpus.quality.kenlm: KenLM cannot be imported ({error}): pip install 'tsumugu[kenlm]'"
        ) from error
    settings = kenlm.Config()
    settings.load_method = kenlm.LoadMethod.LAZY
    settings.show_progress = False
    settings.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        model = kenlm.Model(config.path, settings)
    except OSError as error:
        raise TsumuguError(f"corpus.quality.kenlm.path: {error}") from error
    return LanguageModel(
        model=model,
        tokenize=_pieces(config.sentencepiece) if config.sentencepiece else _characters,
        normalize=normalize_like_cc_net if config.normalization == "cc_net" else str,
    )


def perplexity(language_model: LanguageModel, text: str) -> float:
    """The perplexity of each token of `text`; NaN for a blank text."""
    score, tokens = 0.0, 0
    for line in language_model.normalize(text).split("\n"):
        if line.strip():
            sentence = " ".join(language_model.tokenize(line))
            score += language_model.model.score(sentence)
            # KenLM splits at ASCII white space; a piece may hold some.
            tokens += len(sentence.encode().split()) + 1
    return float(10.0 ** (-score / tokens)) if tokens else float("nan")


def normalize_like_cc_net(text: str) -> str:
    """What CC-Net does to a text before it is cut into pieces."""
    decomposed = unicodedata.normalize("NFD", text.strip().lower())
    bare = "".join(one for one in decomposed if unicodedata.category(one) != "Mn")
    return _CONTROL.sub("", _DIGIT.sub("0", bare).translate(_PUNCTUATION))


def _characters(line: str) -> list[str]:
    return list("".join(line.split()))


def _pieces(path: str) -> Callable[[str], list[str]]:
    from sentencepiece import SentencePieceProcessor

    try:
        processor = SentencePieceProcessor(model_file=path)
    except (OSError, RuntimeError) as error:
        raise TsumuguError(
            f"corpus.quality.kenlm.sentencepiece: {path} cannot be read as a SentencePiece model: {error}"
        ) from error
    encode: Callable[[str], list[str]] = processor.encode_as_pieces
    return encode
