"""HojiChar's filters: our `hojichar` profile beside HojiChar's own `Compose`, same documents, same core.

Two sets of real documents: those that pass every filter, so that every filter really runs and no
early exit helps either side (the set that the goal is on), and a mix of which most is rejected.
Both sides get texts in memory and return masked texts and decisions, which must be equal.
"""

import hashlib
import json
from functools import partial
from typing import Any

import pyarrow as pa

import harness

NAME = "corpus_filters"
GOAL = 25.0


def texts_of(kind: str) -> list[str]:
    """Documents of `passing` (each filter runs on each) or `mix`."""
    path = harness.data_folder() / "corpus" / "benchmark-mix.jsonl.zst"
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        texts = [json.loads(line)["text"] for line in stream.read().split(b"\n") if line]
    if kind == "mix":
        return texts[::4]
    return [text for text, kept in zip(texts, _ours(texts)[1], strict=True) if kept]


def _ours(texts: list[str]) -> tuple[list[str], list[bool]]:
    from tsumugu.corpus import signals, transforms
    from tsumugu.corpus.config import load_profile
    from tsumugu.corpus.rules import PASSED, apply_rules

    profile = load_profile("hojichar")
    masked, _ = transforms.apply(texts, profile.transforms)
    columns = signals.measure(masked, {rule.signal for rule in profile.rules})
    return masked, [reason == PASSED for reason in apply_rules(profile.rules, columns, len(texts))]


_COMPOSE: list[Any] = []


def _compose() -> Any:
    from hojichar import Compose
    from hojichar.filters import document_filters as filters

    if not _COMPOSE:
        _COMPOSE.append(
            Compose(
                [
                    filters.MaskPersonalInformation(),
                    filters.AcceptJapanese(),
                    filters.DiscardRareKuten(),
                    filters.DiscardBBSComments(),
                    filters.DiscardAds(),
                    filters.DiscardAdultContentJa(),
                    filters.DiscardAdultContentEn(),
                    filters.DiscardDiscriminationContentJa(),
                    filters.DiscardViolenceContentJa(),
                    filters.DiscardTooManyEndingEllipsis(),
                    filters.DiscardTooShortLines(),
                    filters.SingleCharacterRepetitionFilter(),
                    filters.CharRepetitionRatioFilter(),
                ]
            )
        )
    return _COMPOSE[0]


def run_ours(kind: str) -> str:
    """Decide on all documents; a digest of decisions and kept texts."""
    masked, kept = [], []
    texts = _cached(kind)
    for start in range(0, len(texts), 1000):
        some, decisions = _ours(texts[start : start + 1000])
        masked += some
        kept += decisions
    return _digest(masked, kept)


def run_hojichar(kind: str) -> str:
    """The same through HojiChar, in its faster way (`apply`, without a stream)."""
    from hojichar import Document

    compose = _compose()
    documents = [compose.apply(Document(text)) for text in _cached(kind)]
    return _digest([one.text for one in documents], [not one.is_rejected for one in documents])


_TEXTS: dict[str, list[str]] = {}


def _cached(kind: str) -> list[str]:
    if kind not in _TEXTS:
        _TEXTS[kind] = texts_of(kind)
    return _TEXTS[kind]


def _digest(texts: list[str], kept: list[bool]) -> str:
    # A rejected document's text is nobody's business: HojiChar stops masking where it rejects.
    lines = [text if keep else "" for text, keep in zip(texts, kept, strict=True)]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def main() -> None:
    """Measure both sets, print, write."""
    rows = []
    for kind, goal in (("passing", GOAL), ("mix", None)):
        texts = texts_of(kind)
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        ours, peer = harness.alternate(partial(run_ours, kind), partial(run_hojichar, kind), runs=3)
        rows.append(
            harness.Row(
                name=f"{NAME}: {kind}",
                ours=megabytes / ours.cpu,
                peer=megabytes / peer.cpu,
                unit="MB/CPU s",
                goal=goal,
                equal_results=ours.result == peer.result,
                details={
                    "documents": len(texts),
                    "megabytes": round(megabytes, 2),
                    "ours_cpu_seconds": ours.cpu_runs,
                    "peer_cpu_seconds": peer.cpu_runs,
                },
            )
        )
    harness.print_table(rows)
    print("written to", harness.write_result(NAME, rows, packages=["hojichar"]))


if __name__ == "__main__":
    main()
