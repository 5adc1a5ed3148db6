"""Results of studies, small enough to be committed: from `study.json` to `docs/lessons/results/NAME.json`."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from tsumugu.files import read_json
from tsumugu.study.outcomes import Curve
from tsumugu.study.summary import interval, mean_of
from tsumugu.versions import commit_of, cpu_model

ROOT = Path(__file__).parents[1]
MOST_BYTES = 30_000
"""Of a file of results: it is for people who read the repository, not for programs that mine it."""
_DIGITS = 5
ENDED = ("done", "diverged", "pruned")
STUDIED = ("base", "keys", "axes", "seeds", "stage", "tokenizer_from", "judge", "threads", "search")
"""What a study's file says that makes its results what they are."""
_SOFTWARE = ("tsumugu", "python", "torch")


@dataclass(frozen=True)
class Setting:
    """All trainings of one combination of a study's axes."""

    labels: dict[str, str]
    """By axis."""
    trials: tuple[dict[str, Any], ...]
    """As they stand in the file."""

    @property
    def diverged(self) -> int:
        """Trainings that diverged."""
        return sum(trial["status"] == "diverged" for trial in self.trials)

    def values(self, name: str) -> dict[int, float]:
        """`bits_per_byte`, `spikes` or a measure, by seed.

        As on the study's page: of trainings that are done; spikes of those that diverged, too.
        """
        counted = ("done", "diverged") if name == "spikes" else ("done",)
        found = {}
        for trial in self.trials:
            value = trial[name] if name in ("bits_per_byte", "spikes") else trial["measures"].get(name)
            if value is not None and trial["status"] in counted:
                found[trial["seed"]] = value
        return found

    def mean(self, name: str) -> float | None:
        """Of `values`."""
        values = self.values(name).values()
        return mean(values) if values else None

    def interval(self, name: str) -> tuple[float, float] | None:
        """95 % of the mean by Student's t; None for fewer than two seeds."""
        return interval(list(self.values(name).values()))

    def curve(self) -> list[tuple[int, float]]:
        """Tokens and held-out bits per byte, the mean over seeds as far as all of them got."""
        found = mean_of(
            [
                Curve(**{name: tuple(values) for name, values in trial["curve"].items()})
                for trial in self.trials
            ]
        )
        return list(zip(found.tokens, found.bits_per_byte, strict=True))

    def at(self, step: int) -> dict[int, float]:
        """Held-out bits per byte after so many steps, by seed."""
        return {
            trial["seed"]: value
            for trial in self.trials
            for reached, value in zip(trial["curve"]["steps"], trial["curve"]["bits_per_byte"], strict=True)
            if reached == step
        }


def settings_of(result: dict[str, Any]) -> list[Setting]:
    """In the order of the study."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for trial in result["trials"]:
        groups.setdefault(tuple(trial["setting"]), []).append(trial)
    return [
        Setting(dict(zip(result["axes"], labels, strict=True)), tuple(trials))
        for labels, trials in groups.items()
    ]


def condensed(folder: Path, *, unfinished: bool = False, commit: str | None = None) -> dict[str, Any]:
    """What is kept of the study in `folder`.

    Args:
        folder: the run folder of `tsumugu study`, with its `study.json`.
        unfinished: keep it although trainings are missing or failed.
        commit: of the checkout that trained; that of this one unless given.

    Raises:
        ValueError: there is no `study.json`, or trainings have not come to their end.
    """
    if not (folder / "study.json").exists():
        raise ValueError(f"{folder} has no study.json; `tsumugu study FILE --run {folder}` writes it")
    whole = read_json(folder / "study.json")
    study, trials = whole["study"], whole["trials"]
    open_ones = [trial for trial in trials if trial["status"] not in ENDED]
    if open_ones and not unfinished:
        raise ValueError(
            f"{len(open_ones)} of {len(trials)} trainings of {study['name']} have not come to their end (the "
            f"first is {open_ones[0]['status']}: {open_ones[0]['folder']}); the same `tsumugu study` trains "
            "them, --unfinished keeps what is there"
        )
    manifests = [_manifest(folder / trial["folder"]) for trial in trials]
    versions: dict[str, str] = next((manifest["versions"] for manifest in manifests if manifest), {})
    return {
        "name": study["name"].removeprefix("study-"),
        "question": study["question"],
        **{key: study[key] for key in STUDIED if key in study},
        "software": {name: versions[name] for name in _SOFTWARE if name in versions}
        | {"commit": commit or commit_of(ROOT)},
        "machine": {"cpu": cpu_model(), "system": platform.system()},
        "hours": round(whole["seconds"] / 3600, 3),
        "flops": float(f"{whole['flops']:.4g}"),
        "trials": [
            {
                "setting": list(trial["setting"].values()),
                "seed": trial["seed"],
                "status": trial["status"],
                "bits_per_byte": _rounded(trial["bits_per_byte"]),
                "spikes": trial["spikes"],
                "seconds": round(trial["seconds"], 1),
                "tokens": trial["tokens"],
                "parameters": manifest["counts"]["parameters"] if manifest else None,
                "measures": {name: _rounded(value) for name, value in _measures(trial).items()},
                "curve": {
                    "steps": trial["curve"]["steps"],
                    "tokens": trial["curve"]["tokens"],
                    "bits_per_byte": [_rounded(value) for value in trial["curve"]["bits_per_byte"]],
                },
            }
            for trial, manifest in zip(trials, manifests, strict=True)
        ],
    }


def as_text(result: dict[str, Any]) -> str:
    """JSON with one line per training.

    Raises:
        ValueError: it is larger than a file of results may be.
    """
    head = {key: value for key, value in result.items() if key != "trials"}
    begin = json.dumps(head, ensure_ascii=False, indent=2)[: -len("\n}")]
    trials = ",\n".join("    " + json.dumps(trial, ensure_ascii=False) for trial in result["trials"])
    text = f'{begin},\n  "trials": [\n{trials}\n  ]\n}}\n'
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(
            f"the results of {result['name']} take {len(text.encode()):,} bytes; {MOST_BYTES:,} are allowed. "
            "A larger pretrain.validation_every gives shorter curves"
        )
    return text


def read_results(folder: Path, order: Sequence[str]) -> list[dict[str, Any]]:
    """All results in `folder`, those in `order` first."""
    found = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}
    return [
        found[name] for name in [*(name for name in order if name in found), *sorted(found.keys() - order)]
    ]


def _measures(trial: dict[str, Any]) -> dict[str, float]:
    """Those of a trial, and what a tuning has forgotten."""
    found: dict[str, float] = dict(trial.get("measures") or {})
    if "bits_per_byte_before" in found and trial["bits_per_byte"] is not None:
        found["forgetting"] = trial["bits_per_byte"] - found["bits_per_byte_before"]
    return found


def _rounded(value: Any) -> Any:
    return round(value, _DIGITS) if isinstance(value, float) else value


def _manifest(trial: Path) -> dict[str, Any] | None:
    for stage in ("tune", "pretrain"):
        path = trial / stage / "manifest.json"
        if path.exists():
            found: dict[str, Any] = read_json(path)
            if "parameters" in found["counts"]:
                return found
    return None
