"""Answers that are written: our adapter beside lm-evaluation-harness's `hf` model.

JSQuAD with two examples in the prompt, the same model directory, requests and settings (greedy, at most 32
tokens), in float32 on one core; `hf` has its best batch size, found first. Both write the same texts. The row
"computed by transformers" leaves the network and the loop to `generate` on both sides.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from examinees import best_batch_size, ours, peer, requests, write_examinee
from harness import Row, alternate, measure, print_table, write_result

NAME = "evaluation_generation"
GOAL = 1.5
TASK, QUESTIONS, SHOTS, NEW_TOKENS = "ja_leaderboard_jsquad", 8, 2, 32
_TRIED = (1, 4)
_OUR_BATCH = 8


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
        batch = best_batch_size(lambda size: measure(partial(theirs, folder, size, 4), runs=1).wall, _TRIED)
        for native in (True, False):
            mine, other = alternate(
                partial(written, folder, native, QUESTIONS),
                partial(theirs, folder, batch, QUESTIONS),
                runs=options.runs,
            )
            title = f"JSQuAD, {SHOTS}-shot, up to {NEW_TOKENS} new tokens"
            rows.append(
                Row(
                    title if native else f"{title}; computed by transformers",
                    ours=round(QUESTIONS / mine.cpu, 3),
                    peer=round(QUESTIONS / other.cpu, 3),
                    unit="texts/CPU s",
                    goal=GOAL if native else None,
                    equal_results=mine.result == other.result,
                    details={
                        "cpu_seconds": {"ours": mine.cpu_runs, "hf": other.cpu_runs},
                        "hf_batch_size": batch,
                        "wall_seconds": {"ours": mine.wall, "hf": other.wall},
                    },
                )
            )
            print(rows[-1], flush=True)
    print_table(rows)
    write_result(NAME, rows, packages=["lm-eval", "transformers", "torch"])


def _asked(limit: int) -> list[object]:
    asked = requests(TASK, limit, SHOTS)
    for one in asked:
        one.args[1]["max_gen_toks"] = NEW_TOKENS
    return asked


def written(folder: Path, native: bool, limit: int) -> list[str]:
    """Ours."""
    found: list[str] = ours(folder, _OUR_BATCH, native).generate_until(_asked(limit))
    return found


def theirs(folder: Path, batch_size: int, limit: int) -> list[str]:
    """The harness's."""
    found: list[str] = peer(folder, batch_size).generate_until(_asked(limit), disable_tqdm=True)
    return found


if __name__ == "__main__":
    main()
