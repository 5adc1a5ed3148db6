"""Texts and measured shards for the tests of deduplication."""

import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import japanese_text
from tsumugu.corpus.config import CorpusConfig, DecontaminationConfig, DedupConfig, Input
from tsumugu.corpus.dedup import decide, keys
from tsumugu.corpus.dedup.normalising import comparable
from tsumugu.engine import Resources

ONLY_NEAR = DedupConfig(urls=False, contained_share=None, repeated_lines=None)
"""Exact and near duplicates, and nothing else."""


def ngrams(text: str, size: int = 5) -> set[str]:
    """The character n-grams of a text, by definition."""
    compared = comparable(text).replace("\n", "")
    if not compared:
        return set()
    return {compared[start : start + size] for start in range(max(1, len(compared) - size + 1))}


def jaccard(left: set[str], right: set[str]) -> float:
    """The Jaccard similarity, by definition."""
    return len(left & right) / len(left | right) if left or right else 0.0


def edited(text: str, edits: int, draw: random.Random) -> str:
    """`text` with so many characters replaced."""
    letters = list(text)
    for place in draw.sample(range(len(letters)), edits):
        letters[place] = draw.choice("亜以宇衣於加幾久計己")
    return "".join(letters)


def near_duplicates(seed: int = 0, originals: int = 150) -> list[str]:
    """Made-up texts, some of them with copies that differ in 1 to 40 characters."""
    draw = random.Random(seed)
    texts = []
    for number in range(originals):
        text = japanese_text(seed * 100_000 + number, sentences=draw.randrange(1, 15))
        texts.append(text)
        for _ in range(number % 4):
            texts.append(edited(text, min(draw.randrange(1, 40), len(text)), draw))
    draw.shuffle(texts)
    return texts


def data(name: str) -> list[dict[str, Any]]:
    """Documents of a file below $TSUMUGU_DATA; skips the test if there is none."""
    folder = os.environ.get("TSUMUGU_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"TSUMUGU_DATA has no {name}")
    with pa.input_stream(str(Path(folder) / name), compression="detect") as stream:
        return [json.loads(line) for line in stream.read().decode().split("\n") if line]


def measure(
    folder: Path,
    texts: Sequence[str],
    config: DedupConfig,
    *,
    per_shard: int = 40,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> list[Path]:
    """Measured shards of `texts`; ids are `d0`, `d1`, ...; `columns` replaces url, metadata, reason."""
    paths = []
    for start in range(0, len(texts), per_shard):
        part = slice(start, start + per_shard)
        reasons = list((columns or {}).get("reason", [""] * len(texts))[part])
        compared = ["" if reason else text for text, reason in zip(texts[part], reasons, strict=True)]
        table = pa.table(
            {
                "id": [f"d{start + row}" for row in range(len(compared))],
                "text": list(texts[part]),
                "url": list((columns or {}).get("url", ["a.html"] * len(texts))[part]),
                "metadata": list((columns or {}).get("metadata", ["{}"] * len(texts))[part]),
                "reason": reasons,
                **keys(compared, config),
            }
        )
        paths.append(folder / "measured" / f"{start // per_shard:05d}.parquet")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, paths[-1])
    return paths


def decisions(
    folder: Path,
    texts: Sequence[str],
    config: DedupConfig = ONLY_NEAR,
    *,
    decontamination: DecontaminationConfig | None = None,
    workers: int = 1,
    per_shard: int = 40,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, Any]]:
    """What `decide` says of each text."""
    measured = measure(folder, texts, config, per_shard=per_shard, columns=columns)
    corpus = CorpusConfig(
        inputs=(Input(path="pages", source="test", license="CC0-1.0"),),
        dedup=config,
        decontamination=decontamination or DecontaminationConfig(),
    )
    outputs = decide(measured, config=corpus, work=folder / "work", resources=Resources(workers))
    assert [pq.read_metadata(path).num_rows for path in outputs] == [
        pq.read_metadata(path).num_rows for path in measured
    ]
    return [row for path in outputs for row in pq.read_table(path).to_pylist()]


def clusters(decided: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> set[frozenset[str]]:
    """The clusters as sets of different texts."""
    members: dict[int, set[str]] = {}
    for row, text in zip(decided, texts, strict=True):
        if row["cluster"] is not None:
            members.setdefault(row["cluster"], set()).add(text)
    return {frozenset(texts) for texts in members.values()}
