"""An existing tokenizer instead of a trained one: a Hugging Face directory or a `.model` file.

`tokenizer.json` is taken as it is, of whatever kind. A directory that has only `spiece.model` (LINE's
T5 form) and a bare `.model` file get a fast twin. Special tokens are those that the directory's
configuration names; the model's own, for a bare file. Code of the directory is never run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from tokenizers import Tokenizer

from tsumugu.errors import TsumuguError
from tsumugu.files import write_aside, write_json, write_text
from tsumugu.tokenizer.encoder import SPECIAL_TOKENS_MAP, Encoder, as_for_text, load_encoder
from tsumugu.tokenizer.export import FAST, KIND, SPIECE, fast_tokenizer, write_sentencepiece
from tsumugu.tokenizer.presets import SPECIAL_TOKENS
from tsumugu.tokenizer.templates import refuse_hostile

_MODEL_NAMES = (SPIECE, "tokenizer.model")
_CHAT_TEMPLATE = "chat_template.jinja"

Special = Mapping[str, str | list[str]]
"""Tokens by the names of transformers: `eos_token`, ..., `additional_special_tokens` (a list)."""


def write_existing(path: Path, folder: Path, *, model_max_length: int) -> None:
    """Write the tokenizer at `path` into the stage's `folder`.

    Raises:
        TsumuguError: there is no tokenizer, it is damaged, it has no end-of-text token, or it cannot
            be used without finding special tokens in text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        special, template = _write(path, folder)
        if "eos_token" not in special:
            raise TsumuguError(
                "it has no end-of-text token (eos_token), which every document needs. Name one in its "
                "tokenizer_config.json."
            )
    except TsumuguError as error:
        raise TsumuguError(f"tokenizer.path = {path}: {error}") from error
    write_settings(folder, special, model_max_length=model_max_length, chat_template=template)


def open_existing(path: Path) -> Encoder:
    """The tokenizer at `path`, to look at: it may lack a token that ends a document.

    Raises:
        TsumuguError: as `write_existing`.
    """
    with TemporaryDirectory() as name:
        try:
            special, _ = _write(path, Path(name))
        except TsumuguError as error:
            raise TsumuguError(f"{path}: {error}") from error
        if "eos_token" not in special:
            # Nobody will ask for it; an encoder has one.
            special["eos_token"] = str(Tokenizer.from_file(str(Path(name) / FAST)).id_to_token(0))
        write_json(Path(name) / SPECIAL_TOKENS_MAP, special)
        return load_encoder(Path(name))


def write_settings(
    folder: Path,
    special: Special,
    *,
    model_max_length: int,
    chat_template: str | None = None,
) -> None:
    """Write the files that transformers reads beside `tokenizer.json`."""
    write_json(folder / SPECIAL_TOKENS_MAP, special)
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
    if chat_template is not None:
        write_text(folder / _CHAT_TEMPLATE, chat_template)


def _write(path: Path, folder: Path) -> tuple[dict[str, str | list[str]], str | None]:
    if path.is_file():
        model = _read_model(path)
        special = _model_special(model)
        _write_model(model, special, folder)
        return special, None
    if not path.is_dir():
        raise TsumuguError("there is no such file or directory.")
    settings = _read_settings(path)
    models = [path / name for name in _MODEL_NAMES if (path / name).is_file()]
    fast = path / FAST
    if fast.is_file() and not (models and _is_twin(fast, models[0])):
        special = _named_special(path, settings)
        _write_fast(fast, special, folder)
    elif models:
        model = _read_model(models[0])
        special = {**_model_special(model), **_named_special(path, settings)}
        _refuse_other_than_sentencepiece(path, settings, len(model.pieces))
        _write_model(model, special, folder)
    else:
        code = (
            "its tokenizer is code of its own (auto_map), which is never run; "
            if "auto_map" in settings
            else ""
        )
        raise TsumuguError(
            f"{code}it has neither tokenizer.json nor spiece.model. Load the tokenizer with transformers "
            f"where you trust it, and save it with save_pretrained as a fast tokenizer."
        )
    return special, _chat_template(path, settings)


def _read_settings(path: Path) -> dict[str, Any]:
    return _read_object(path / "tokenizer_config.json")


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise TsumuguError(f"{path.name} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise TsumuguError(f"{path.name} is damaged: it is not a JSON object.")
    return found


def _named_special(path: Path, settings: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Special tokens by transformers' names, as the configuration gives them."""
    found: dict[str, str | list[str]] = {}
    for source in (_read_object(path / SPECIAL_TOKENS_MAP), settings):
        for role in SPECIAL_TOKENS:
            if token := _content(source.get(role)):
                found[role] = token
        more = source.get("additional_special_tokens") or source.get("extra_special_tokens") or []
        if isinstance(more, list) and (tokens := [token for one in more if (token := _content(one))]):
            found["additional_special_tokens"] = tokens
    return found


def _content(token: Any) -> str | None:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) and content else None


def _chat_template(path: Path, settings: Mapping[str, Any]) -> str | None:
    """The template, which whoever talks to the model is going to run; a hostile one is refused."""
    file = path / _CHAT_TEMPLATE
    if file.is_file():
        template: Any = file.read_text(encoding="utf-8")
    else:
        template = settings.get("chat_template")
    if not isinstance(template, str):
        return None
    refuse_hostile(template, file.name if file.is_file() else "tokenizer_config.json")
    return template


def _read_model(path: Path) -> Any:
    data = path.read_bytes()
    try:
        model = sentencepiece_model_pb2.ModelProto.FromString(data)
        SentencePieceProcessor(model_proto=data)
    except (DecodeError, RuntimeError) as error:
        raise TsumuguError(f"{path.name} is not a SentencePiece model, or it is damaged: {error}") from error
    if not model.pieces:
        raise TsumuguError(f"{path.name} is not a SentencePiece model: it has no pieces.")
    return model


def _model_special(model: Any) -> dict[str, str | list[str]]:
    trainer = model.trainer_spec
    ids = {"unk": trainer.unk_id, "bos": trainer.bos_id, "eos": trainer.eos_id, "pad": trainer.pad_id}
    return {
        f"{role}_token": model.pieces[index].piece
        for role, index in ids.items()
        if 0 <= index < len(model.pieces) and model.pieces[index].type in (KIND.CONTROL, KIND.UNKNOWN)
    }


def _tokens(special: Special) -> list[str]:
    return [
        token for tokens in special.values() for token in ([tokens] if isinstance(tokens, str) else tokens)
    ]


def _write_model(model: Any, special: Special, folder: Path) -> None:
    pieces = {piece.piece: piece for piece in model.pieces}
    _require(special, pieces)
    for token in _tokens(special):
        # Some models have them as user-defined symbols, which SentencePiece finds in text.
        if pieces[token].type != KIND.UNKNOWN:
            pieces[token].type = KIND.CONTROL
    write_sentencepiece(folder, model.SerializeToString(deterministic=True))


def _require(special: Special, known: Mapping[str, Any]) -> None:
    for role, tokens in special.items():
        for token in [tokens] if isinstance(tokens, str) else tokens:
            if token not in known:
                raise TsumuguError(f"{role} is {token!r}, which is not in its vocabulary.")


def _refuse_other_than_sentencepiece(path: Path, settings: Mapping[str, Any], size: int) -> None:
    added = settings.get("added_tokens_decoder")
    added = added if isinstance(added, dict) else {}
    known = {int(index): _content(token) for index, token in added.items() if index.isdigit()}
    known |= {index: token for token, index in _read_object(path / "added_tokens.json").items()}
    # T5's <extra_id_0>, ... mark gaps for its own training task; no text holds them.
    outside = [token for index, token in known.items() if index >= size and "extra_id_" not in str(token)]
    if outside:
        raise TsumuguError(
            f"it adds tokens to its SentencePiece model ({', '.join(map(repr, outside[:5]))}). Save it with "
            f"transformers as a fast tokenizer (tokenizer.json)."
        )
    if settings.get("do_lower_case"):
        raise TsumuguError("it lower-cases text (do_lower_case), which SentencePiece does not.")


def _is_twin(fast: Path, model: Path) -> bool:
    """Whether `fast` is what we write beside `model`: the folder of an earlier run."""
    try:
        return bool(_parse_fast(fast).to_str() == fast_tokenizer(_read_model(model)).to_str())
    except TsumuguError:
        return False


def _parse_fast(path: Path) -> Tokenizer:
    _read_object(path)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise TsumuguError(f"{path.name} is damaged, or no tokenizer: {error}") from error


def _write_fast(path: Path, special: dict[str, str | list[str]], folder: Path) -> None:
    tokenizer = _parse_fast(path)
    config = _read_object(path.with_name("config.json"))
    for role in ("bos", "eos", "pad"):
        index = config.get(f"{role}_token_id")
        index = index[0] if isinstance(index, list) and index else index
        if f"{role}_token" not in special and isinstance(index, int):
            token = tokenizer.id_to_token(index)
            if token is not None:
                special[f"{role}_token"] = token
    _require(special, tokenizer.get_vocab(with_added_tokens=True))
    written = path.read_text(encoding="utf-8")
    if _found_in_text(tokenizer, special):
        written = _without_special_in_text(written, special)
        if token := _found_in_text(Tokenizer.from_str(written), special):
            raise TsumuguError(
                f"a text that shows {token!r} would be given the id of that special token. Such a text would "
                f"end documents where it stands; use another tokenizer."
            )
    with write_aside(folder / FAST) as aside:
        aside.write_text(written, encoding="utf-8")


def _found_in_text(tokenizer: Tokenizer, special: Special) -> str | None:
    """A special token (the unknown one apart, which text may need) that comes out of a text."""
    as_for_text(tokenizer)
    for token in _tokens({role: tokens for role, tokens in special.items() if role != "unk_token"}):
        for text in (token, f"犬{token}猫", f"a {token} b"):
            if tokenizer.token_to_id(token) in tokenizer.encode(text, add_special_tokens=False).ids:
                return token
    return None


def _without_special_in_text(written: str, special: Special) -> str:
    """Mark them special in the file, and give them a score in a unigram model that no text can want."""
    data = json.loads(written)
    names = {*_tokens(special)}
    for token in data.get("added_tokens", []):
        token["special"] = token["special"] or token["content"] in names
    model = data["model"]
    if model["type"] == "Unigram":
        lowest = min([-1.0, *(score for _, score in model["vocab"])])
        never = (max(map(len, names)) + 1) * lowest - 1
        model["vocab"] = [[piece, never if piece in names else score] for piece, score in model["vocab"]]
    return json.dumps(data, ensure_ascii=False)
