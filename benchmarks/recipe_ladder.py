"""Training FLOPs to the held-out loss of LINE's recipe: the last rung of the ladder beside the first.

`recipes/studies/ladder-3m.yaml` has the rungs, and docs/experiments.md says what each of them gave. Here the
first, LINE's recipe, and the last are trained on the demo's pages with the same three seeds, tokenizer and
held-out text, and with as many parameters. FLOPs are those of the model (PaLM's formula) and of Muon's
orthogonal updates. Results are equal if the mean held-out bits per byte of the last rung is no higher than
that of the first.

Trainings have one thread each, and as many run at a time as there are cores; so seconds of training, in a row
of their own, are those of one core. `--run DIR` keeps the trainings, and goes on with those that are there.
"""

import argparse
import os
import tempfile
from pathlib import Path

from harness import ROOT, Row, print_table, write_result
from tsumugu.engine import Resources
from tsumugu.pipeline import say_on_stderr
from tsumugu.study.config import load_study
from tsumugu.study.running import run_study
from tsumugu.study.summary import summarize
from tsumugu.study.trials import trials_of

NAME = "recipe_ladder"
GOAL = 2.0
SEEDS = (0, 1, 2)


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, metavar="DIR", help="default: a temporary folder")
    options = parser.parse_args()
    # Inputs of recipes are looked for from here.
    os.chdir(ROOT)
    if options.run is not None:
        rows = _measure(options.run)
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = _measure(Path(folder))
    print_table(rows)
    write_result(NAME, rows, packages=["torch"])


def _measure(folder: Path) -> list[Row]:
    path = ROOT / "recipes" / "studies" / "ladder-3m.yaml"
    study = load_study(path).model_copy(update={"seeds": SEEDS})
    rungs = study.settings()
    trials = [trial for trial in trials_of(study, path, folder) if trial.setting in (rungs[0], rungs[-1])]
    cores = len(os.sched_getaffinity(0))
    outcomes = run_study(
        study,
        trials,
        folder=folder,
        slots=[None] * max(1, cores // study.threads),
        resources=Resources(cores),
        say=say_on_stderr,
    )
    line, last = summarize(trials, outcomes).rows
    of_line, of_last = (row.measures.get("bits_per_byte") for row in (line, last))
    if of_line is None or of_last is None or line.done + last.done < line.trials + last.trials:
        raise SystemExit("error: not every training came to its end; --run DIR keeps what says why")
    details = {
        "bits_per_byte": {"LINE's recipe": of_line.by_seed, "last rung": of_last.by_seed},
        "means": {"LINE's recipe": of_line.mean, "last rung": of_last.mean},
        "trials_per_recipe": line.trials,
        "last_rung": ", ".join(last.setting.values()),
    }
    equal = of_last.mean <= of_line.mean
    return [
        Row(
            "training FLOPs to LINE's held-out bits per byte",
            ours=last.flops / last.trials,
            peer=line.flops / line.trials,
            unit="FLOPs",
            better="lower",
            goal=GOAL,
            equal_results=equal,
            details=details,
        ),
        Row(
            "seconds of training on one core",
            ours=last.seconds / last.trials,
            peer=line.seconds / line.trials,
            unit="s",
            better="lower",
            equal_results=equal,
        ),
    ]


if __name__ == "__main__":
    main()
