"""Multiple choice with few-shot prompts: our adapter beside lm-evaluation-harness's `hf` model.

The same model directory and the same requests of the same tasks, in float32 on one core. `hf` has its best
batch size, found first. The harness computes a context once only where each answer is a single token, and
takes the softmax over the vocabulary at every position. The row "computed by transformers" leaves the network
to transformers on both sides; the others compute it with our decoder, as `tsumugu evaluate` does for this
family.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

from examinees import TOLERANCE, best_batch_size, ours, peer, requests, write_examinee
from harness import Row, alternate, measure, print_table, write_result

NAME = "evaluation_choice"
GOAL = 5.0
TASKS = {
    "ja_leaderboard_jcommonsenseqa": (10, 3, "JCommonsenseQA, 5 answers, 3-shot"),
    "ja_leaderboard_jnli": (10, 3, "JNLI, 3 answers, 3-shot"),
    "kotowari": (24, 0, "kotowari, 4 answers, 0-shot"),
}
"""Questions, examples before each, and what it is called here."""
_TRIED = (1, 4, 8, 16)
_OUR_BATCH = 8

Answers = list[tuple[float, bool]]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_examinee(folder)
        first = next(iter(TASKS))
        batch = best_batch_size(
            lambda size: measure(partial(theirs, folder, size, first, 4, 3), runs=1).wall, _TRIED
        )
        for task, (questions, shots, title) in TASKS.items():
            for native in (True, False) if task == first else (True,):
                mine, other = alternate(
                    partial(answered, folder, native, task, questions, shots),
                    partial(theirs, folder, batch, task, questions, shots),
                    runs=options.runs,
                )
                rows.append(
                    Row(
                        title if native else f"{title}; computed by transformers",
                        ours=round(questions / mine.cpu, 3),
                        peer=round(questions / other.cpu, 3),
                        unit="questions/CPU s",
                        goal=GOAL if native and shots else None,
                        equal_results=agree(mine.result, other.result),
                        details={
                            "cpu_seconds": {"ours": mine.cpu_runs, "hf": other.cpu_runs},
                            "hf_batch_size": batch,
                            "largest_difference": difference(mine.result, other.result),
                            "wall_seconds": {"ours": mine.wall, "hf": other.wall},
                        },
                    )
                )
                print(rows[-1], flush=True)
    print_table(rows)
    write_result(NAME, rows, packages=["lm-eval", "transformers", "torch"])


def answered(folder: Path, native: bool, task: str, limit: int, shots: int) -> Answers:
    """Ours."""
    found: Answers = ours(folder, _OUR_BATCH, native).loglikelihood(requests(task, limit, shots))
    return found


def theirs(folder: Path, batch_size: int, task: str, limit: int, shots: int) -> Answers:
    """The harness's."""
    asked = requests(task, limit, shots)
    return [tuple(one) for one in peer(folder, batch_size).loglikelihood(asked, disable_tqdm=True)]


def difference(one: Answers, other: Answers) -> float:
    """The largest, in nats."""
    return max(abs(a[0] - b[0]) for a, b in zip(one, other, strict=True))


def agree(one: Answers, other: Answers) -> bool:
    """The same log-probabilities, and the same answers that greedy decoding would give."""
    greedy = [a[1] for a in one] == [b[1] for b in other]
    return greedy and difference(one, other) < TOLERANCE


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"{time.perf_counter() - began:.0f} s")
