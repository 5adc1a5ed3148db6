"""`tsumugu study`: arguments in, a page out."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsumugu.questions import Options, Parser, positive_number

if TYPE_CHECKING:
    from tsumugu.study.summary import Summary

STUDY = """\
Trains a recipe, or tunes a model, in several ways and lays what comes out side by side, on one page.

STUDY is a YAML file: a base recipe, axes to vary (any key of the recipe), seeds, a budget. Trials share
corpus, tokenizer and tokens, run several at a time, and go on after a stop when the same command is given
again. recipes/studies/ has some; docs/studies.md says what a file may hold."""

EXAMPLES = """\
examples:
  tsumugu study recipes/studies/beta2.yaml
  tsumugu study recipes/studies/beta2.yaml --run runs/beta2 --parallel 4
  tsumugu study recipes/studies/beta2.yaml --page           the page of what is there so far"""


def add_study_arguments(parser: Parser) -> None:
    """All of them."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="a YAML file")
    parser.add_argument("--run", type=Path, metavar="DIR", dest="folder", help="default: runs/NAME")
    parser.add_argument(
        "--parallel",
        type=positive_number,
        metavar="N",
        help="trials at a time; default: one per GPU, or per `threads` CPUs",
    )
    parser.add_argument(
        "--page", action="store_true", help="write the page of what is there, and train nothing"
    )


def answer_study(options: Options) -> None:
    """Train what is missing; write `study.html` and `study.json`."""
    from dataclasses import asdict

    from tsumugu.engine import Resources
    from tsumugu.errors import TsumuguError
    from tsumugu.files import write_json, write_text
    from tsumugu.pipeline import say_on_stderr
    from tsumugu.study.config import load_study
    from tsumugu.study.judging import judgement_of
    from tsumugu.study.outcomes import curve_of
    from tsumugu.study.page import study_page
    from tsumugu.study.running import LOG, read_outcome, run_study
    from tsumugu.study.summary import summarize
    from tsumugu.study.trials import trials_of

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TsumuguError("a study starts its own processes; run it without torchrun")
    study = load_study(options.study)
    folder = options.folder or Path("runs") / study.name
    trials = trials_of(study, options.study, folder)
    if options.page:
        if not any(trial.folder.exists() for trial in trials):
            raise TsumuguError(f"{folder} holds none of the study's trials; run it without --page first")
        outcomes = [read_outcome(trial, study) for trial in trials]
    else:
        outcomes = run_study(
            study,
            trials,
            folder=folder,
            slots=_slots(study.threads, options.parallel),
            resources=Resources(len(os.sched_getaffinity(0))),
            say=say_on_stderr,
        )
    summary = summarize(trials, outcomes, judged_by=study.judged_by)
    judge = next((found for found in map(judgement_of, trials) if found is not None), None)
    write_json(
        folder / "study.json",
        {
            "study": study.model_dump(mode="json"),
            **summary.to_json(),
            # The same for all trials.
            "judge": judge and {"text": _size(judge["text"]), "human": judge["human"]},
            "trials": [
                {
                    "setting": trial.setting,
                    "seed": trial.seed,
                    "folder": trial.folder.relative_to(folder).as_posix(),
                    **outcome.to_json(),
                    "curve": asdict(curve_of(trial)),
                }
                for trial, outcome in zip(trials, outcomes, strict=True)
            ],
        },
    )
    write_text(
        folder / "study.html", study_page(study, trials, outcomes, summary, folder=folder, judge=judge)
    )
    _print(folder, summary, trials=len(trials))
    failed = [trial for trial, one in zip(trials, outcomes, strict=True) if one.status == "failed"]
    if failed:
        raise TsumuguError(
            f"{len(failed)} of {len(trials)} trainings failed; {failed[0].folder / LOG} says why. "
            "The same command tries them again"
        )


def _slots(threads: int, parallel: int | None) -> list[int | None]:
    """Where trials are trained at the same time."""
    import torch

    gpus = torch.cuda.device_count()
    if gpus:
        return [number % gpus for number in range(parallel or gpus)]
    return [None] * (parallel or max(1, len(os.sched_getaffinity(0)) // threads))


def _size(text: dict[str, Any]) -> dict[str, int]:
    return {name: text[name] for name in ("documents", "bytes")}


def _print(folder: Path, summary: "Summary", *, trials: int) -> None:
    from tsumugu.study.outcomes import MEASURES
    from tsumugu.terminal import table

    found = [(row, row.measures.get(summary.judged_by)) for row in summary.rows]
    rows = [
        (
            ", ".join(row.setting.values()),
            "-" if figure is None else f"{figure.mean:.4f}",
            "" if figure is None or figure.interval is None else "{:.4f} to {:.4f}".format(*figure.interval),
            "-" if row.spikes is None else f"{row.spikes:.1f}",
            f"{row.done} of {row.trials}" + (f", {row.diverged} diverged" if row.diverged else ""),
        )
        for row, figure in found
    ]
    print(table(("setting", MEASURES[summary.judged_by], "95 %", "spikes", "done"), rows, right=(1, 2, 3)))
    if summary.best is not None:
        print(f"\nbest     {', '.join(summary.best.setting.values())}")
    print(f"{trials} trainings, {summary.seconds / 3600:.2f} hours, {summary.flops:.3g} FLOPs")
    print(f"page     {folder / 'study.html'}")
