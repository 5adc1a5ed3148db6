"""A model that is talked to: opened from wherever it lies, with what its directory says of writing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.subject import Subject, open_subject
from tsumugu.recipe import load_recipe
from tsumugu.talking.sampling import Sampling
from tsumugu.talking.spelling import spelling_of
from tsumugu.talking.writing import Settings, Voice

_WITHOUT = Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.1)
"""Where a directory says nothing: those of LINE's instruction-sft models (their model cards)."""
_TOKENS = 256


@dataclass(frozen=True)
class Speaker:
    """A model, its tokenizer, and its habits."""

    subject: Subject
    voice: Voice
    defaults: Settings
    """Of `generation_config.json`, or of the run's recipe."""
    trust_remote_code: bool = False


def open_speaker(place: str, *, trust_remote_code: bool = False, native: bool = True) -> Speaker:
    """The model at a place.

    Args:
        place: a run folder, a checkpoint of one, a Hugging Face directory, or a name on the hub.
        trust_remote_code: whether code of the directory may be run.
        native: compute it with our decoder where that can be.

    Raises:
        TsumuguError: there is no such model, or a file of it is missing or damaged.
    """
    subject = open_subject(place, trust_remote_code=trust_remote_code, native=native)
    found = _generation_config(subject)
    voice = Voice(
        spelling=spelling_of(subject),
        ends=frozenset({subject.eos_id, *_ids(found.get("eos_token_id"))}),
        max_length=subject.model.max_length,
    )
    return Speaker(subject, voice, _defaults(found, place), trust_remote_code)


def chosen(
    defaults: Settings, options: Mapping[str, float | int | None], *, stops: tuple[str, ...], seed: int
) -> Settings:
    """The settings that a person wants.

    Args:
        defaults: of the model.
        options: values by the names of `Sampling`, and `max_new_tokens`; None: the model's own.
        stops: texts that end what is written, beside the model's.
        seed: of all draws.
    """
    given = {name: value for name, value in options.items() if value is not None}
    tokens = int(given.pop("max_new_tokens", defaults.max_new_tokens))
    sampling = vars(defaults.sampling)
    if sampling["temperature"] == 0 and {"top_k", "top_p", "min_p"} & {*given}:
        # Who cuts a distribution wants to draw from it.
        sampling = {**sampling, "temperature": 1.0}
    return Settings(
        sampling=Sampling(**{**sampling, **given}),
        max_new_tokens=tokens,
        stops=(*defaults.stops, *stops),
        seed=seed,
    )


def _generation_config(subject: Subject) -> Mapping[str, Any]:
    """As transformers would find it; for a run, what its release would have."""
    run = subject.facts.get("run")
    if run is not None:
        release = load_recipe(Path(run) / "recipe.yaml").release
        return {
            "do_sample": True,
            "temperature": release.temperature,
            "top_p": release.top_p,
            "top_k": 0,
            "repetition_penalty": release.repetition_penalty,
            "max_new_tokens": release.max_new_tokens,
        }
    file = None if subject.folder is None else subject.folder / "generation_config.json"
    if file is None or not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TsumuguError(f"{file} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise TsumuguError(f"{file} is damaged: it is not a JSON object")
    return found


def _defaults(found: Mapping[str, Any], place: str) -> Settings:
    tokens = found.get("max_new_tokens") or _TOKENS
    if "do_sample" not in found and "temperature" not in found:
        return Settings(_WITHOUT, max_new_tokens=tokens)
    # What is not said is what transformers takes it for.
    values = {
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
    values = {name: value if found.get(name) is None else found[name] for name, value in values.items()}
    if not found.get("do_sample"):
        values["temperature"] = 0
    try:
        return Settings(
            Sampling(**values),  # type: ignore[arg-type]
            max_new_tokens=tokens,
        )
    except (TsumuguError, TypeError) as error:
        raise TsumuguError(f"{place}: generation_config.json: {error}") from error


def _ids(value: Any) -> list[int]:
    if value is None:
        return []
    return [int(one) for one in (value if isinstance(value, list) else [value])]
