"""How the pages of docs/lessons name and group the settings of a study."""

from collections.abc import Iterable, Sequence
from typing import Any

from lesson_results import Setting

_NAMES = {
    "pretrain.optimizer.beta2": "beta2",
    "pretrain.optimizer.learning_rate": "peak learning rate",
    "pretrain.schedule.name": "schedule",
    "pretrain.steps": "steps",
    "model.hidden_size": "width",
    "tune.learning_rate": "learning rate",
    "tune.epochs": "epochs",
}
BITS_PER_BYTE = "held-out bits per byte"
WORDS = {
    "bits_per_byte": BITS_PER_BYTE,
    "spikes": "spikes in a training",
    "answer_loss": "loss of held-out answers (nats per token)",
    "answer_loss_before": "loss of answers before",
    "forgetting": "forgetting (rise of held-out bits per byte)",
    "judge_bits_per_byte": "bits per byte of the judge's text",
    "repeated_5gram_share": "repeated 5-grams in what is written",
    "epochs": "times the text is read",
}


def grouped(
    settings: Iterable[Setting], axes: Sequence[str], *, named: bool = False
) -> list[tuple[str, list[Setting]]]:
    """By what they have in common on `axes`, in order: its labels, after the names of the axes if `named`."""
    found: dict[tuple[str, ...], list[Setting]] = {}
    for setting in settings:
        found.setdefault(tuple(setting.labels[axis] for axis in axes), []).append(setting)
    return [
        (
            ", ".join(
                f"{name_of(axis)}: {label}" if named else label
                for axis, label in zip(axes, labels, strict=True)
            ),
            group,
        )
        for labels, group in found.items()
    ]


def others_of(result: dict[str, Any], *axes: str) -> list[str]:
    """All axes but these.

    Raises:
        ValueError: the study has none of such a name.
    """
    for axis in axes:
        if axis and axis not in result["axes"]:
            raise ValueError(f"the study {result['name']} has no axis {axis}, which its page is about")
    return [axis for axis in result["axes"] if axis not in axes]


def name_of(axis: str) -> str:
    """Of an axis, for people."""
    return _NAMES.get(axis, axis.rpartition(".")[2].replace("_", " "))


def names_of(axes: Iterable[str]) -> str:
    """Of several axes."""
    return ", ".join(map(name_of, axes))


def words_of(measure: str) -> str:
    """For a measure, with its unit."""
    return WORDS.get(measure, measure.replace("_", " "))
