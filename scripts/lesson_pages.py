"""What a page of docs/lessons shows of its study: tables in Markdown, plots as SVG.

`LESSONS` says which plots and tables each has; everything is a function of the results alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log2
from statistics import mean
from typing import Any

from lesson_results import ENDED, Setting, settings_of
from plots import Axis, Dots, Panel, Point, Series, panels, rows

from tsumugu.study.summary import interval

_NAMES = {
    "pretrain.optimizer.beta2": "beta2",
    "pretrain.optimizer.learning_rate": "peak learning rate",
    "pretrain.schedule.name": "schedule",
    "pretrain.steps": "steps",
    "model.hidden_size": "width",
    "tune.learning_rate": "learning rate",
    "tune.epochs": "epochs",
}
_BITS = "held-out bits per byte"
_WORDS = {
    "bits_per_byte": _BITS,
    "spikes": "spikes in a training",
    "answer_loss": "loss of held-out answers (nats per token)",
    "answer_loss_before": "loss of answers before",
    "forgetting": "forgetting (rise of held-out bits per byte)",
    "judge_bits_per_byte": "bits per byte of the judge's text",
    "repeated_5gram_share": "repeated 5-grams in what is written",
    "epochs": "times the text is read",
}
_HEADROOM = 1.25
"""A plot of bits per byte reaches to so much of its least; what is above is marked at the edge."""


@dataclass(frozen=True)
class Plot:
    """A picture: the file's name goes on with `suffix`."""

    suffix: str
    caption: str
    draw: Callable[[dict[str, Any]], str]
    """Gives nothing where there is nothing to see."""


@dataclass(frozen=True)
class Lesson:
    """What a page shows."""

    plots: tuple[Plot, ...]
    tables: tuple[Callable[[dict[str, Any]], str], ...]


def over(
    x: str, *, apart: str, y: str = "bits_per_byte", inverse: bool = False
) -> Callable[[dict[str, Any]], str]:
    """A plot of `y` over a numeric axis, logarithmic; a panel for each value of `apart`, a line for the rest.

    `inverse` places the values by their distance from 1, which is what counts for a share of memory.
    """

    def draw(result: dict[str, Any]) -> str:
        settings, lines = settings_of(result), _others(result, x, apart)
        if y == "spikes" and not any(setting.mean(y) for setting in settings):
            return ""

        def place(setting: Setting) -> float:
            value = float(setting.labels[x])
            return 1 - value if inverse else value

        found = [
            Panel(
                title,
                tuple(
                    Series(label, tuple(_point(place(setting), setting, y) for setting in line))
                    for label, line in _groups(group, lines)
                ),
            )
            for title, group in _groups(settings, [apart] if apart else [], named=True)
        ]
        ticks = {place(setting): setting.labels[x] for setting in settings}
        label = (
            f"{_name(x)} (placed by 1 - {_name(x)}, logarithmic)" if inverse else f"{_name(x)} (logarithmic)"
        )
        return panels(
            found,
            x=Axis(label, log=True, ticks=tuple(ticks.items())),
            y=_y_axis(settings, y),
            lines=_names(lines),
        )

    return draw


def curves(*apart: str) -> Callable[[dict[str, Any]], str]:
    """Held-out curves: a panel for each combination of the axes `apart`, a line for each of the rest."""

    def draw(result: dict[str, Any]) -> str:
        settings, lines = settings_of(result), _others(result, *apart)
        found = [
            Panel(
                title,
                tuple(
                    Series(label, tuple(Point(*one) for one in line[0].curve()), curve=True)
                    for label, line in _groups(group, lines)
                ),
            )
            for title, group in _groups(settings, apart, named=True)
        ]
        values = [value for setting in settings for _, value in setting.curve()]
        return panels(
            found,
            x=Axis("training tokens", zero=True),
            lines=_names(lines),
            y=Axis(_BITS, most=min(values, default=1.0) * _HEADROOM),
            height=240,
        )

    return draw


def dots(*, apart: str = "", y: str = "bits_per_byte") -> Callable[[dict[str, Any]], str]:
    """A row for each setting, in groups by the axis `apart`."""

    def draw(result: dict[str, Any]) -> str:
        others = _others(result, apart)
        groups = [
            (
                title,
                [
                    Dots(
                        label,
                        tuple(one[0].values(y).values()),
                        one[0].interval(y),
                        f"{one[0].diverged} diverged" if one[0].diverged else "",
                    )
                    for label, one in _groups(group, others)
                ],
            )
            for title, group in _groups(settings_of(result), [apart] if apart else [], named=True)
        ]
        return rows(groups, x=Axis(f"{_WORDS[y]}, with 95 % of the mean"))

    return draw


def against(x: str, y: str, *, line: str, along: str) -> Callable[[dict[str, Any]], str]:
    """A plot of a measure against another: a line for each value of `line`, which goes on with `along`."""

    def draw(result: dict[str, Any]) -> str:
        found = []
        _others(result, line, along)
        for label, group in _groups(settings_of(result), [line]):
            points = []
            for setting in group:
                at_x, at_y = setting.mean(x), setting.mean(y)
                if at_x is not None and at_y is not None:
                    points.append(Point(at_x, at_y, setting.interval(y), label=setting.labels[along]))
            found.append(Series(label, tuple(points)))
        before = [value for one in settings_of(result) for value in one.values(f"{y}_before").values()]
        if before:
            # A measure of change begins at nothing.
            found.append(Series("before", (Point(0.0, mean(before)),)))
        return panels(
            [Panel(f"beside each point: {_name(along)}", tuple(found))],
            x=Axis(_words(x)),
            lines=_name(line),
            y=Axis(_words(y)),
            height=380,
        )

    return draw


def grid(columns: str) -> Callable[[dict[str, Any]], str]:
    """A table of bits per byte with the values of one axis as columns; the least of each line is bold."""

    def write(result: dict[str, Any]) -> str:
        others = _others(result, columns)
        values = list(dict.fromkeys(setting.labels[columns] for setting in settings_of(result)))
        head = [*map(_name, others), *values]
        lines = [
            f"{_BITS.capitalize()}; columns: {_name(columns)}.",
            "",
            _line(head),
            _line(["---"] * len(others) + ["--:"] * len(values)),
        ]
        for _, group in _groups(settings_of(result), others):
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
        head = [*map(_name, axes), *map(_words, measures), *(["spikes"] if spikes else []), "trainings"]
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
        others = _others(result, x)
        head = [*map(_name, others), f"best {_name(x)}", "between those tried", _BITS, "diverged from"]
        lines = [_line(head), _line(["---"] * len(others) + ["--:"] * 4)]
        for _, group in _groups(settings_of(result), others):
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
    steps, others = "pretrain.steps", _others(result, "pretrain.steps")
    groups = _groups(settings_of(result), others)
    lengths = sorted({int(setting.labels[steps]) for _, group in groups for setting in group})
    longest = lengths[-1]
    head = [
        *map(_name, others),
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
            tokens = max((trial["tokens"] for trial in by_length[length].trials), default=0)
            stopped = by_length[longest].at(tokens)
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


_RATE, _BETA2, _STEPS = "pretrain.optimizer.learning_rate", "pretrain.optimizer.beta2", "pretrain.steps"
LESSONS = {
    "beta2": Lesson(
        (
            Plot("", "final bits per byte over beta2", over(_BETA2, apart=_RATE, inverse=True)),
            Plot("-spikes", "spikes over beta2", over(_BETA2, apart=_RATE, y="spikes", inverse=True)),
            Plot("-curves", "held-out curves", curves(_RATE, "warm-up")),
        ),
        (grid(_BETA2),),
    ),
    "learning-rate": Lesson(
        (Plot("", "final bits per byte over the peak learning rate", over(_RATE, apart="parametrization")),),
        (best_of(_RATE), grid(_RATE)),
    ),
    "schedules": Lesson(
        (
            Plot("", "final bits per byte over the steps that were planned", over(_STEPS, apart="")),
            Plot(
                "-curves",
                "held-out curves of trainings planned for different ends",
                curves("pretrain.schedule.name"),
            ),
        ),
        (grid("pretrain.schedule.name"), anytime),
    ),
    "initialization": Lesson(
        (
            Plot("", "final bits per byte by first weights", dots(apart="shape")),
            Plot("-curves", "held-out curves", curves("shape")),
        ),
        (listing("bits_per_byte"),),
    ),
    "data": Lesson(
        (
            Plot("", "bits per byte of a text that none was trained on", dots(y="judge_bits_per_byte")),
            Plot("-repetition", "repetition in what the models write", dots(y="repeated_5gram_share")),
        ),
        (listing("judge_bits_per_byte", "bits_per_byte", "repeated_5gram_share", "epochs"),),
    ),
    "fine-tuning": Lesson(
        (
            Plot(
                "",
                "loss of answers against forgetting",
                against("forgetting", "answer_loss", line="tune.learning_rate", along="tune.epochs"),
            ),
        ),
        (listing("answer_loss", "answer_loss_before", "forgetting"),),
    ),
}
"""In the order of the pages."""


def cost(result: dict[str, Any]) -> str:
    """A paragraph: how many trainings of what, where, and how to repeat them."""
    trials, software = result["trials"], result["software"]
    parameters = sorted({trial["parameters"] for trial in trials if trial["parameters"]})
    tokens = sorted({trial["tokens"] for trial in trials if trial["status"] == "done"})
    seeds, threads = len(result["seeds"]), result["threads"]
    open_ones = sum(trial["status"] not in ENDED for trial in trials)
    return (
        f"{len(trials)} trainings"
        + (f" ({seeds} seeds of each setting)" if seeds > 1 else " (one seed of each setting)")
        + (f" of {_range(parameters)} parameters" if parameters else "")
        + (f", {_range(tokens)} tokens each" if tokens else "")
        + f": {result['hours']:.2f} hours of training with {threads} thread{'s' if threads > 1 else ''} each "
        f"({result['machine']['cpu']}), {result['flops']:.2e} FLOPs. Tsumugu at commit `{software['commit']}`"
        + (f", PyTorch {software['torch']}" if "torch" in software else "")
        + (f". **{open_ones} of them have not come to their end**" if open_ones else "")
        + f". [results/{result['name']}.json](results/{result['name']}.json) has every training and its "
        f"curve; `tsumugu study recipes/studies/{result['name']}.yaml` repeats them.\n"
    )


def overview(results: Sequence[dict[str, Any]]) -> str:
    """A table of all studies that have results."""
    if not results:
        return "None of them has been run to its end so far.\n"
    lines = ["| study | question | trainings | hours, threads taken together |", "|---|---|--:|--:|"]
    for result in results:
        trials = result["trials"]
        open_ones = sum(trial["status"] not in ENDED for trial in trials)
        count = f"{len(trials) - open_ones} of {len(trials)}" if open_ones else f"{len(trials)}"
        lines.append(
            f"| [{result['name']}]({result['name']}.md) | {result['question']} | {count} | "
            f"{result['hours'] * result['threads']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _comparable(group: Sequence[Setting]) -> list[tuple[Setting, float]]:
    """Settings with their mean bits per byte, among which one may be called the best.

    What some seeds survived is no winner, and there is none while some have not come to their end.
    """
    if any(trial["status"] not in ENDED for setting in group for trial in setting.trials):
        return []
    found = [(setting, setting.mean("bits_per_byte")) for setting in group if not setting.diverged]
    return [(setting, value) for setting, value in found if value is not None]


def _y_axis(settings: Sequence[Setting], y: str) -> Axis:
    if y != "bits_per_byte":
        return Axis(_words(y), zero=True)
    means = [value for setting in settings if (value := setting.mean(y)) is not None]
    return Axis(_BITS, most=min(means, default=1.0) * _HEADROOM)


def _point(x: float, setting: Setting, y: str) -> Point:
    off = y == "bits_per_byte" and setting.diverged > 0
    return Point(x, setting.mean(y), setting.interval(y), tuple(setting.values(y).values()), off)


def _groups(
    settings: Iterable[Setting], axes: Sequence[str], *, named: bool = False
) -> list[tuple[str, list[Setting]]]:
    """By what they have in common on `axes`, in order: its labels, after the names of the axes if `named`."""
    found: dict[tuple[str, ...], list[Setting]] = {}
    for setting in settings:
        found.setdefault(tuple(setting.labels[axis] for axis in axes), []).append(setting)
    return [
        (
            ", ".join(
                f"{_name(axis)}: {label}" if named else label
                for axis, label in zip(axes, labels, strict=True)
            ),
            group,
        )
        for labels, group in found.items()
    ]


def _others(result: dict[str, Any], *axes: str) -> list[str]:
    """All axes but these.

    Raises:
        ValueError: the study has none of such a name.
    """
    for axis in axes:
        if axis and axis not in result["axes"]:
            raise ValueError(f"the study {result['name']} has no axis {axis}, which its page is about")
    return [axis for axis in result["axes"] if axis not in axes]


def _name(axis: str) -> str:
    return _NAMES.get(axis, axis.rpartition(".")[2].replace("_", " "))


def _names(axes: Iterable[str]) -> str:
    return ", ".join(map(_name, axes))


def _words(measure: str) -> str:
    return _WORDS.get(measure, measure.replace("_", " "))


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


def _range(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
