"""Tables of the pages of docs/lessons: functions that write Markdown from the results of a study."""

from collections.abc import Callable, Iterable, Sequence
from math import log2
from statistics import mean
from typing import Any

from lesson_results import ENDED, Setting, settings_of
from lesson_words import BITS_PER_BYTE, grouped, name_of, others_of, words_of

from tsumugu.study.summary import interval


def grid(columns: str) -> Callable[[dict[str, Any]], str]:
    """A table of bits per byte with the values of one axis as columns; the least of each line is bold."""

    def write(result: dict[str, Any]) -> str:
        others = others_of(result, columns)
        values = list(dict.fromkeys(setting.labels[columns] for setting in settings_of(result)))
        head = [*map(name_of, others), *values]
        lines = [
            f"{BITS_PER_BYTE.capitalize()}; columns: {name_of(columns)}.",
            "",
            _line(head),
            _line(["---"] * len(others) + ["--:"] * len(values)),
        ]
        for _, group in grouped(settings_of(result), others):
            least = min((value for _, value in _comparable(group)), default=None)
            cells = {setting.labels[columns]: _cell(setting, least) for setting in group}
            labels = [group[0].labels[axis] for axis in others]
            lines.append(_line([*labels, *(cells.get(value, "") for value in values)]))
        if not any(setting.mean("spikes") for setting in settings_of(result)):
            lines += ["", "No training had a spike."]
        return "\n".join(lines) + "\n"

    return write


def listing(*measures: str) -> Callable[[dict[str, Any]], str]:
    """A table with a line for each setting, and its measures beside the bits per byte."""

    def write(result: dict[str, Any]) -> str:
        axes = list(result["axes"])
        settings = settings_of(result)
        # A tuning counts none.
        spikes = any(setting.values("spikes") for setting in settings)
        head = [*map(name_of, axes), *map(words_of, measures), *(["spikes"] if spikes else []), "trainings"]
        lines = [_line(head), _line(["---"] * len(axes) + ["--:"] * (len(head) - len(axes) - 1) + ["---"])]
        for setting in settings:
            lines.append(
                _line(
                    [
                        *setting.labels.values(),
                        *(_with_interval(setting.mean(name), setting.interval(name)) for name in measures),
                        *([_spikes(setting) or "0"] if spikes else []),
                        f"{len(setting.trials)}"
                        + (f", {setting.diverged} diverged" if setting.diverged else ""),
                    ]
                )
            )
        return "\n".join(lines) + "\n"

    return write


def best_of(x: str) -> Callable[[dict[str, Any]], str]:
    """A table of the best value of a numeric axis for each combination of the others."""

    def write(result: dict[str, Any]) -> str:
        others = others_of(result, x)
        head = [
            *map(name_of, others),
            f"best {name_of(x)}",
            "between those tried",
            BITS_PER_BYTE,
            "diverged from",
        ]
        lines = [_line(head), _line(["---"] * len(others) + ["--:"] * 4)]
        for _, group in grouped(settings_of(result), others):
            found = [(float(setting.labels[x]), value) for setting, value in _comparable(group)]
            lost = [float(setting.labels[x]) for setting in group if setting.diverged]
            best = min(found, key=lambda one: one[1], default=None)
            vertex = least_between(found)
            lines.append(
                _line(
                    [
                        *(group[0].labels[axis] for axis in others),
                        "-" if best is None else f"{best[0]:g}",
                        "-" if best is None else "at the edge" if vertex is None else f"{vertex:.2g}",
                        "-" if best is None else f"{best[1]:.4f}",
                        f"{min(lost):g}" if lost else "-",
                    ]
                )
            )
        return (
            "\n".join(lines)
            + "\n\n*Between those tried*: the least of the parabola through the best and its neighbours, "
            "over the logarithm.\n"
        )

    return write


def least_between(found: Sequence[tuple[float, float]]) -> float | None:
    """Where the parabola through the least value and its neighbours has its least, over the logarithm of x.

    Returns:
        x, or None if the least value is the first or the last.
    """
    found = sorted(found)
    place = min(range(len(found)), key=lambda number: found[number][1], default=0)
    if not 0 < place < len(found) - 1:
        return None
    (x0, y0), (x1, y1), (x2, y2) = [(log2(x), y) for x, y in found[place - 1 : place + 2]]
    before, after = (x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0)
    if before == after:
        return found[place][0]
    return float(2 ** (x1 - ((x1 - x0) * before - (x1 - x2) * after) / (2 * (before - after))))


def anytime(result: dict[str, Any]) -> str:
    """A table: where a training stands in the middle, beside one that was planned to end there."""
    steps, others = "pretrain.steps", others_of(result, "pretrain.steps")
    groups = grouped(settings_of(result), others)
    lengths = sorted({int(setting.labels[steps]) for _, group in groups for setting in group})
    longest = lengths[-1]
    head = [
        *map(name_of, others),
        "stopped after",
        f"of {longest} planned",
        "planned to end there",
        "difference",
    ]
    lines = [_line(head), _line(["---"] * len(others) + ["--:"] * 4)]
    for _, group in groups:
        by_length = {int(setting.labels[steps]): setting for setting in group}
        for length in lengths[:-1]:
            ended = by_length[length].values("bits_per_byte")
            stopped = by_length[longest].at(length)
            both = sorted(ended.keys() & stopped.keys())
            differences = [stopped[seed] - ended[seed] for seed in both]
            lines.append(
                _line(
                    [
                        *(group[0].labels[axis] for axis in others),
                        f"{length} steps",
                        f"{mean(stopped[seed] for seed in both):.4f}" if both else "-",
                        f"{mean(ended[seed] for seed in both):.4f}" if both else "-",
                        _with_interval(mean(differences), interval(differences), sign=True) if both else "-",
                    ]
                )
            )
    return (
        "\n".join(lines)
        + "\n\nDifferences are taken seed by seed: a positive one is what stopping early costs.\n"
    )


def _comparable(group: Sequence[Setting]) -> list[tuple[Setting, float]]:
    """Settings with their mean bits per byte, among which one may be called the best.

    What some seeds survived is no winner, and there is none while some have not come to their end.
    """
    if any(trial["status"] not in ENDED for setting in group for trial in setting.trials):
        return []
    found = [(setting, setting.mean("bits_per_byte")) for setting in group if not setting.diverged]
    return [(setting, value) for setting, value in found if value is not None]


def _cell(setting: Setting, least: float | None) -> str:
    value = setting.mean("bits_per_byte")
    notes = [] if value is None else [_with_interval(value, setting.interval("bits_per_byte"))]
    if notes and value == least:
        notes = [f"**{notes[0]}**"]
    if setting.diverged:
        some = setting.diverged < len(setting.trials)
        notes.append(f"{setting.diverged} of {len(setting.trials)} diverged" if some else "diverged")
    if spikes := _spikes(setting):
        notes.append(f"{spikes} spike{'' if spikes == '1' else 's'}")
    return ", ".join(notes) or "-"


def _spikes(setting: Setting) -> str:
    value = setting.mean("spikes")
    return f"{value:.1f}".removesuffix(".0") if value else ""


def _with_interval(value: float | None, found: tuple[float, float] | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    text = f"{value:+.4f}" if sign else f"{value:.4f}"
    # What is the same with every seed needs no interval.
    return text if found is None or found[0] == found[1] else f"{text} ± {(found[1] - found[0]) / 2:.4f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
