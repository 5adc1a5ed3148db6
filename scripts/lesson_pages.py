"""What a page of docs/lessons shows of its study: tables in Markdown, plots as SVG.

`LESSONS` says which plots and tables each has; everything is a function of the results alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lesson_plots import against, curves, dots, over
from lesson_results import ENDED
from lesson_tables import anytime, best_of, grid, listing


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


def _range(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"
