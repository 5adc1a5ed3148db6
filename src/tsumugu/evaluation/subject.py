"""A model that is to be evaluated, with its tokenizer: opened from wherever it lies.

A run folder, one of its checkpoints, a Hugging Face directory, or a name on the Hugging Face hub.
Models of the families that our decoder knows are computed by it, whoever made them; all others by
transformers.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.language_model import HuggingFaceModel, LanguageModel, NativeModel
from tsumugu.files import read_json
from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.pipeline import MANIFEST
from tsumugu.recipe import load_recipe
from tsumugu.release.adapter import TheirWeights, config_from_hugging_face
from tsumugu.release.stored import StoredTensor
from tsumugu.release.weight_files import read_weights
from tsumugu.tokenizer.encoder import Encoder, load_encoder
from tsumugu.tokenizer.existing import open_existing
from tsumugu.tokenizer.export import FAST, SPIECE
from tsumugu.training.checkpoint import load_weights
from tsumugu.training.device import pick_device
from tsumugu.training.runs import newest_checkpoint, run_of

CHECKPOINT, HUGGING_FACE = "checkpoint", "hugging_face"
_UNKNOWN_LENGTH = 2048
"""Tokens at once, where a configuration does not say; as in lm-evaluation-harness."""


@dataclass(frozen=True)
class Subject:
    """Who is asked."""

    name: str
    model: LanguageModel
    encode: Callable[[str], list[int]]
    """Text to ids, without what begins or ends a text."""
    decode: Callable[[Sequence[int]], str]
    """Ids to text, in which special tokens are nothing."""
    prompt_start: tuple[int, ...]
    """What stands before a prompt: `<s>` where the model is used to it, else nothing."""
    text_start: int
    """What stands before the first token of a text, so that it is predicted: `<s>`, or the end of the
    text before."""
    eos_id: int
    facts: dict[str, Any]
    """What results say of it: kind, path, parameters, precision, fingerprint."""
    name_of: Callable[[int], str]
    """An id's name in the vocabulary: `▁駅`, `<0xE3>`, or letters that stand for bytes."""
    unk_id: int | None = None
    """The token for what the vocabulary lacks."""
    folder: Path | None = None
    """Where its tokenizer lies and what is written beside it; None for a model that is only in memory."""


def native_subject(
    name: str,
    decoder: Decoder,
    encoder: Encoder,
    *,
    max_length: int | None = None,
    facts: dict[str, Any] | None = None,
    folder: Path | None = None,
) -> Subject:
    """A decoder of ours, in evaluation mode, with the tokenizer of its run (which lies in `folder`)."""
    return Subject(
        name=name,
        model=NativeModel(decoder, max_length=max_length),
        encode=encoder.encode,
        decode=encoder.decode,
        prompt_start=tuple(encoder.document_start),
        text_start=encoder.prompt_start,
        eos_id=encoder.eos_id,
        facts={"kind": CHECKPOINT, **(facts or {})},
        name_of=encoder.name_of,
        unk_id=encoder.unk_id,
        folder=folder,
    )


def open_subject(
    place: str,
    *,
    name: str | None = None,
    max_length: int | None = None,
    add_bos: bool | None = None,
    trust_remote_code: bool = False,
    native: bool = True,
) -> Subject:
    """The model at a place.

    Args:
        place: a run folder, a checkpoint of one (`.../checkpoints/step-N`), a Hugging Face directory,
            or the name of a model on the hub.
        name: how results call it; default: the place.
        max_length: tokens that it sees at once; default: what its configuration says.
        add_bos: whether prompts begin with `<s>`; default: what it was trained with, for a run, and
            what its tokenizer does, for a Hugging Face directory.
        trust_remote_code: whether code of the directory may be run.
        native: compute it with our decoder where that can be.

    Raises:
        TsumuguError: there is no such model, or a file of it is missing or damaged.
    """
    folder, checkpoint = _find(place)
    if checkpoint is None:
        subject = _open_hugging_face(place, folder, max_length, trust_remote_code, native)
    else:
        subject = _open_run(place, folder, checkpoint, max_length=max_length)
    facts = {"place": place, **subject.facts, "max_length": subject.model.max_length, "add_bos": add_bos}
    start = subject.prompt_start
    if add_bos is not None:
        start = (subject.text_start,) if add_bos else ()
    facts["prompt_start"] = bool(start)
    return replace(subject, name=name or place, prompt_start=start, facts=facts)


def fingerprint_of(place: str) -> str:
    """Of the model at a place, as its facts have it, without opening it; one on the hub is downloaded.

    Raises:
        TsumuguError: there is no such model.
    """
    folder, checkpoint = _find(place)
    return _fingerprint(folder) if checkpoint is None else _fingerprint_of_checkpoint(checkpoint)


def _find(place: str) -> tuple[Path, Path | None]:
    """A run folder and its checkpoint, or a Hugging Face directory and nothing."""
    path = Path(place)
    if (path / "config.json").is_file():
        return path, None
    if run := run_of(path):
        folder, checkpoint = run
        return folder, checkpoint or newest_checkpoint(folder)
    if path.exists():
        raise TsumuguError(
            f"{place}: no model is here. A run folder has recipe.yaml and pretrain, a Hugging Face directory "
            f"has config.json"
        )
    return _download(place), None


def _open_run(place: str, folder: Path, checkpoint: Path, *, max_length: int | None) -> Subject:
    recipe = load_recipe(folder / "recipe.yaml")
    if not (folder / "tokenizer" / MANIFEST).is_file():
        raise TsumuguError(f"{place}: this run has no tokenizer. Make it: tsumugu tokenizer RECIPE")
    encoder = load_encoder(folder / "tokenizer")
    decoder = Decoder(recipe.model, encoder.vocab_size)
    load_weights(checkpoint, decoder)
    length = min(max_length or recipe.pretrain.sequence_length, recipe.pretrain.sequence_length)
    facts = {
        "run": str(folder),
        "checkpoint": checkpoint.name,
        "fingerprint": _fingerprint_of_checkpoint(checkpoint),
    }
    return native_subject(
        place,
        decoder.to(pick_device()).eval(),
        encoder,
        max_length=length,
        facts={**facts, **_size(decoder)},
        folder=folder / "tokenizer",
    )


def _open_hugging_face(
    place: str, folder: Path, max_length: int | None, trust_remote_code: bool, native: bool
) -> Subject:
    config = read_json(folder / "config.json")
    if "auto_map" in config and not trust_remote_code:
        raise TsumuguError(
            f"{place}: this model comes with code of its own (auto_map), which is not run. If you trust it, "
            f"say --trust-remote-code"
        )
    tokenizer = _open_tokenizer(place, folder, trust_remote_code)
    try:
        # Whoever computes the model: no pickled weights, and no index that leads elsewhere.
        stored = read_weights(folder)
    except TsumuguError as error:
        raise TsumuguError(f"{place}: {error}") from error
    model: LanguageModel | None = None
    facts: dict[str, Any] = {"kind": HUGGING_FACE, "fingerprint": _fingerprint(folder)}
    if native:
        model = _as_native(place, config, stored, max_length, facts)
    if model is None:
        model = _as_transformers(
            place, folder, max_length, tokenizer.model_max_length, trust_remote_code, facts
        )
    if tokenizer.largest_id >= model.vocab_size:
        raise TsumuguError(
            f"{place}: the tokenizer has ids up to {tokenizer.largest_id}, and the model {model.vocab_size} "
            f"tokens. They do not belong together"
        )
    return Subject(
        name=place,
        model=model,
        encode=tokenizer.encode,
        decode=tokenizer.decode,
        prompt_start=tokenizer.prompt_start,
        text_start=tokenizer.text_start,
        eos_id=tokenizer.eos_id,
        facts=facts,
        name_of=tokenizer.name_of,
        unk_id=tokenizer.unk_id,
        folder=folder,
    )


@dataclass(frozen=True)
class _Tokenizer:
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    prompt_start: tuple[int, ...]
    text_start: int
    eos_id: int
    largest_id: int
    unk_id: int | None
    name_of: Callable[[int], str]
    model_max_length: int | None = None
    """What the tokenizer says of the model; None if nothing."""


def _open_tokenizer(place: str, folder: Path, trust_remote_code: bool) -> _Tokenizer:
    if not (folder / FAST).is_file() and (folder / SPIECE).is_file():
        # LINE's form. Its ids are SentencePiece's own, which what transformers makes of it may miss.
        encoder = open_existing(folder)
        return _Tokenizer(
            encode=encoder.encode,
            decode=encoder.decode,
            prompt_start=(),
            text_start=encoder.prompt_start,
            eos_id=encoder.eos_id,
            largest_id=encoder.vocab_size - 1,
            unk_id=encoder.unk_id,
            name_of=encoder.name_of,
        )
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:
        # Whatever a library finds wrong with files that it did not write.
        raise TsumuguError(
            f"{place}: its tokenizer cannot be opened: {_one_line(error)}. A model is evaluated with the "
            f"tokenizer it was trained with; copy tokenizer.json (or spiece.model) and tokenizer_config.json "
            f"beside its config.json"
        ) from error
    eos, bos = found.eos_token_id, found.bos_token_id
    if eos is None and bos is None:
        raise TsumuguError(
            f"{place}: its tokenizer names neither a bos_token nor an eos_token, so nothing can stand before "
            f"the first token of a text. Name one in tokenizer_config.json"
        )
    eos = bos if eos is None else eos
    # What the tokenizer puts around a text by itself; behind a prompt it would end it.
    start = found("あ", add_special_tokens=True)["input_ids"][:1]
    return _Tokenizer(
        encode=lambda text: list(found(text, add_special_tokens=False, verbose=False)["input_ids"]),
        decode=lambda ids: str(
            found.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        ),
        prompt_start=tuple(start) if bos is not None and start == [bos] else (),
        text_start=eos if bos is None else bos,
        eos_id=eos,
        largest_id=max(found.get_vocab().values()),
        unk_id=found.unk_token_id,
        # A vocabulary may have holes.
        name_of=lambda index: found.convert_ids_to_tokens(index) or "",
        # Where it says nothing, transformers has 10 ** 30 there.
        model_max_length=found.model_max_length if found.model_max_length < 10**9 else None,
    )


def _as_native(
    place: str,
    config: dict[str, Any],
    stored: Mapping[str, StoredTensor],
    max_length: int | None,
    facts: dict[str, Any],
) -> NativeModel | None:
    """Computed by our decoder; None if it cannot compute this model."""
    try:
        ours = config_from_hugging_face(config)
    except TsumuguError as error:
        facts["computed_by"] = f"transformers ({error})"
        return None
    try:
        weights = TheirWeights(stored, ours)
    except TsumuguError as error:
        raise TsumuguError(f"{place}: {error}") from error
    decoder = Decoder(ours, weights.vocab_size)
    weights.fill(decoder)
    facts["computed_by"] = "tsumugu"
    facts.update(_size(decoder))
    return NativeModel(decoder.to(pick_device()).eval(), max_length=max_length)


def _as_transformers(
    place: str,
    folder: Path,
    max_length: int | None,
    tokenizer_length: int | None,
    trust_remote_code: bool,
    facts: dict[str, Any],
) -> HuggingFaceModel:
    from transformers import AutoModelForCausalLM

    device = pick_device()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            # Half precision is emulated on CPUs.
            dtype=torch.float32 if device.type == "cpu" else "auto",
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
        )
    except Exception as error:
        raise TsumuguError(f"{place}: the model cannot be loaded: {_one_line(error)}") from error
    text = getattr(model.config, "text_config", None) or model.config
    limits = [getattr(text, key, None) for key in ("n_positions", "max_position_embeddings", "n_ctx")]
    limit = next((value for value in [*limits, tokenizer_length] if value is not None), _UNKNOWN_LENGTH)
    facts.setdefault("computed_by", "transformers")
    facts.update(parameters=int(model.num_parameters()), dtype=str(model.dtype).removeprefix("torch."))
    return HuggingFaceModel(model.to(device), max_length=min(limit, max_length or limit))


def _download(name: str) -> Path:
    """The files of a model on the hub, or those that an earlier download left on this machine."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except HFValidationError as error:
        raise TsumuguError(f"{name}: there is no such folder, and no such name of a model") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise TsumuguError(
            f"{name}: there is no such folder here, and the Hugging Face hub does not give a model of this "
            f"name: {_one_line(error)}"
        ) from error


def _size(decoder: Decoder) -> dict[str, Any]:
    """The number of parameters, and what matrix products are computed in."""
    dtype = "bfloat16" if pick_device().type == "cuda" else "float32"
    return {"parameters": count_parameters(decoder), "dtype": dtype}


def _fingerprint(folder: Path) -> str:
    """Of the files of a directory, by name, size and time."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return _digest(json.dumps([[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]))


def _fingerprint_of_checkpoint(checkpoint: Path) -> str:
    return _digest((checkpoint / "state.json").read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
