"""Quality rules: our signals beside datatrove's Gopher, C4 and FineWeb filters, one core each.

datatrove measures words and white space, our signals of repetition and layout measure characters, so
there are three kinds of comparison:

- characters: datatrove's own filters with words of one character and sentences that end where ours
  do, and of their rules those that our signals define in the same way. White space inside lines,
  which we do not count, is taken out of the documents beforehand. Every decision must be the same.
- characters, duplicated n-grams: the same with Gopher's duplicated 5- to 10-grams, whose definitions
  differ: after a repeat, datatrove goes on behind it and enters none of the n-grams that it skips;
  ours enters all and counts every character in a repeat once. Ours is never smaller.
- FineWeb-2: datatrove as its users run it on Japanese: SudachiPy's words, FineWeb-2's thresholds.
  Ours are the nearest signals, with words counted as 1.9 characters. The decisions cannot be the
  same; how many are is said beside the speeds. C4 is not part of FineWeb-2, and stands alone.

"mix" is all of benchmark-mix, or every so manieth document of it where the peer is slow (`every` in
`equivalents.py`); "passing" are those of its Japanese documents that our rules keep, so that the peer
seldom stops early.

Both sides get texts in memory and return one reason per document, "" for those that are kept.
datatrove's filters are called one after the other without the statistics of its pipeline, up to the
first that drops; ours measure every signal of every document. Needs TSUMUGU_DATA.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import pyarrow as pa

import harness
from equivalents import COMPARISONS, Rules

NAME = "corpus_quality"


def visible_text(text: str) -> str:
    """`text` without white space inside lines, with at most one empty line, and none at its ends."""
    lines = "\n".join("".join(line.split()) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n")


@cache
def texts_of(name: str) -> list[str]:
    """The documents of a comparison."""
    comparison = COMPARISONS[name]
    path = harness.data_folder() / "corpus" / "benchmark-mix.jsonl.zst"
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        texts = [json.loads(line)["text"] for line in stream.read().split(b"\n") if line]
    texts = texts[:: comparison.every]
    if comparison.visible_only:
        texts = [visible_text(text) for text in texts]
    if comparison.passing_only:
        rules = {**comparison.rules, "other_language": {"signal": "hiragana_share", "at_least": 0.15}}
        texts = [text for text, reason in zip(texts, decide(texts, rules), strict=True) if not reason]
    return texts


def decide(texts: list[str], rules: Rules) -> list[str]:
    """Our decisions: the reason of the first rule that each text fails, or ""."""
    from tsumugu.corpus import signals
    from tsumugu.corpus.config import Rule
    from tsumugu.corpus.rules import apply_rules

    parsed = [Rule(reason=reason, **rule) for reason, rule in rules.items()]
    columns = signals.measure(texts, {rule.signal for rule in parsed})
    return apply_rules(parsed, columns, len(texts))


def run_ours(name: str) -> list[str]:
    """A thousand documents at a time."""
    texts, rules = texts_of(name), COMPARISONS[name].rules
    return [
        reason
        for start in range(0, len(texts), 1000)
        for reason in decide(texts[start : start + 1000], rules)
    ]


def run_datatrove(name: str) -> list[str]:
    """One document at a time, as datatrove does."""
    from datatrove.data import Document

    filters = _filters(name)
    reasons = []
    for number, text in enumerate(texts_of(name)):
        document = Document(text=text, id=str(number))
        reason = ""
        for one in filters:
            result = one.filter(document)
            if result is not True:
                reason = result[1]
                break
        reasons.append(reason)
    return reasons


@cache
def _filters(name: str) -> list[Any]:
    from datatrove.utils.logging import logger

    logger.remove()
    return COMPARISONS[name].filters()


def agreement(ours: Sequence[str], peer: Sequence[str]) -> dict[str, Any]:
    """How often both keep or both drop a document, and why where they differ.

    Args:
        ours, peer: a reason for each document, "" where it is kept.
    """
    pairs = list(zip(ours, peer, strict=True))
    differing = Counter(
        f"only ours drops: {one}" if one else f"only the peer drops: {other}"
        for one, other in pairs
        if bool(one) != bool(other)
    )
    return {
        "documents": len(pairs),
        "both_keep": sum(not one and not other for one, other in pairs),
        "both_drop": sum(bool(one) and bool(other) for one, other in pairs),
        "differences": differing.total(),
        "differing": dict(differing.most_common()),
        "share": round(1 - differing.total() / max(1, len(pairs)), 4),
    }


def main() -> None:
    """Measure every comparison, print, write."""
    rows = []
    for name, comparison in COMPARISONS.items():
        ours, peer = harness.alternate(partial(run_ours, name), partial(run_datatrove, name))
        megabytes = sum(len(text.encode()) for text in texts_of(name)) / 1e6
        found = agreement(ours.result, peer.result)
        print(f"{name}: {found}", flush=True)
        rows.append(
            harness.Row(
                name=f"{NAME}: {name}",
                ours=megabytes / ours.cpu,
                peer=megabytes / peer.cpu,
                unit="MB/CPU s",
                goal=comparison.goal,
                equal_results=found["differences"] == 0,
                why=f"{comparison.why}; the same decision on {found['share']:.1%}" if comparison.why else "",
                details={
                    "megabytes": round(megabytes, 2),
                    "agreement": found,
                    "ours_cpu_seconds": ours.cpu_runs,
                    "peer_cpu_seconds": peer.cpu_runs,
                },
            )
        )
    harness.print_table(rows)
    packages = ["datatrove", "spacy", "sudachipy", "sudachidict-core"]
    print("written to", harness.write_result(NAME, rows, packages=packages))


if __name__ == "__main__":
    main()
