"""From pages to kept documents beside the extractor alone: nothing of ours should be the bottleneck.

Ours reads the pages and does all that a run does with them: decoding, extraction, provenance,
default transforms, signals, the rules of `web-ja`, deduplication, and writing documents, decisions and
quarantine. The peer is the loop that anyone would write with fastwarc and an extractor: read, detect the
encoding, decode, extract with the same settings, and keep nothing. The extractors are those of the two
tiers: resiliparse, and trafilatura, which takes seventeen times as long on these pages.

The archive is read once per run: read again under other names, its pages would be duplicates of
each other, and the steps behind deduplication would have nothing to do. What does not grow with the
corpus stays outside: imports, compilation and dictionaries (the warm-up run), and the worker processes
that deduplication starts (its tasks run in this process here).
"""

import itertools
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import harness

NAME = "corpus_end_to_end"
GOAL = 0.9
_WHY = (
    "a tenth of the extractor's time is all that is left for provenance, transforms, all signals, keys of "
    "duplicates and Parquet files; n-gram signals alone take twice that"
)


def run_ours(extractor: str, pages: Path) -> dict[str, int]:
    """All documents at `pages` into a run folder; how many came in, and how many are kept."""
    import pyarrow.parquet as pq

    from tsumugu.corpus.config import CorpusConfig
    from tsumugu.corpus.dedup import decide, shards
    from tsumugu.corpus.inputs import find_files, plan_shards
    from tsumugu.corpus.measuring import MeasureTask, measure_shard, measured_parts
    from tsumugu.corpus.quality_tier import end_shared_tier
    from tsumugu.corpus.tables import shard_name
    from tsumugu.corpus.writing import WriteTask, write_part
    from tsumugu.engine import Resources

    setattr(shards, "map_shards", _in_this_process)  # noqa: B010
    entry = {"path": str(pages), "source": "pages", "license": "various"}
    config = CorpusConfig.model_validate({"inputs": (entry,), "extraction": {"extractor": extractor}})
    with tempfile.TemporaryDirectory() as folder:
        work, run = Path(folder) / "work", Path(folder) / "run"
        parts = []
        for index, pieces in enumerate(
            plan_shards(find_files(config.inputs), shard_bytes=config.shard_bytes)
        ):
            task = MeasureTask(pieces, config, work / "measured" / f"{index:05d}")
            measure_shard(task)
            parts += measured_parts(task.output)
        # Processor time of a child counts once it has ended.
        end_shared_tier()
        measured = [part.documents for part in parts]
        decided = decide(measured, config=config, work=work / "dedup", resources=Resources(workers=1))
        for index, (part, decision) in enumerate(zip(parts, decided, strict=True)):
            counts = work / "counts" / f"{index:05d}.json"
            write_part(WriteTask(part.documents, decision, part.quarantine, run, shard_name(index), counts))
        return {
            "pages": sum(pq.read_metadata(path).num_rows for path in measured),
            "kept": sum(pq.read_metadata(path).num_rows for path in (run / "documents").glob("*.parquet")),
            **_extractors(measured),
        }


def _extractors(measured: list[Path]) -> dict[str, int]:
    """How many pages each extractor gave the text of; trafilatura is given up on after some seconds."""
    import pyarrow.parquet as pq

    metadata = [
        json.loads(text)
        for path in measured
        for text in pq.read_table(path, columns=["metadata"])["metadata"].to_pylist()
    ]
    return dict(Counter(f"text by {found['extractor']}" for found in metadata))


def _in_this_process(function: Callable[[Any], None], tasks: list[Any], **_: object) -> None:
    for task in tasks:
        function(task)


def run_extractor(extractor: str, pages: Path) -> dict[str, int]:
    """The main text of all pages at `pages`; how many there are, and their characters."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    extract = _trafilatura() if extractor == "trafilatura" else _resiliparse()
    count = characters = 0
    for body in _files(pages) if pages.is_dir() else _responses(pages):
        text = extract(bytes_to_str(body, detect_encoding(body) or "utf-8"))
        count += 1
        characters += len(text)
    return {"pages": count, "characters": characters}


def _resiliparse() -> Callable[[str], str]:
    from resiliparse.extract.html2text import extract_plain_text

    # The settings are those of `tsumugu.corpus.extraction.extract_text`.
    return partial(extract_plain_text, main_content=True, alt_texts=False, preserve_formatting=True)


def _trafilatura() -> Callable[[str], str]:
    from trafilatura import extract

    logging.disable(logging.CRITICAL)
    # The settings are those of `tsumugu.corpus.trafilatura_worker`.
    return lambda html: extract(html, include_comments=False, deduplicate=False) or ""


def _responses(archive: Path) -> Iterator[bytes]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with archive.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            yield record.reader.read()


def _files(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.iterdir()):
        yield path.read_bytes()


def write_pages(archive: Path, folder: Path) -> None:
    """Every page of `archive` as an HTML file of its own, as the server sent it."""
    for number, body in enumerate(_responses(archive)):
        (folder / f"{number:05d}.html").write_bytes(body)


def main() -> None:
    """Measure both kinds of input in both tiers, print, write."""
    archive = harness.data_folder() / "warc" / "japanese-pages.warc.gz"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_pages(archive, Path(folder))
        inputs = (("WARC", archive), ("HTML files", Path(folder)))
        tiers = (("resiliparse", 5), ("trafilatura", 3))
        for (extractor, runs), (kind, pages) in itertools.product(tiers, inputs):
            ours, peer = harness.alternate(
                partial(run_ours, extractor, pages), partial(run_extractor, extractor, pages), runs=runs
            )
            count = ours.result["pages"]
            rows.append(
                harness.Row(
                    name=f"{NAME}: {kind}, {extractor}",
                    ours=count / ours.cpu,
                    peer=count / peer.cpu,
                    unit="pages/CPU s",
                    goal=GOAL,
                    equal_results=count == peer.result["pages"],
                    why=_WHY if peer.cpu < GOAL * ours.cpu else "",
                    details={
                        "ours": ours.result,
                        "microseconds_per_page": [round(1e6 * side.cpu / count) for side in (ours, peer)],
                        "ours_cpu_seconds": ours.cpu_runs,
                        "peer_cpu_seconds": peer.cpu_runs,
                    },
                )
            )
    harness.print_table(rows)
    print(
        "written to",
        harness.write_result(NAME, rows, packages=["resiliparse", "trafilatura", "fastwarc", "pyarrow"]),
    )


if __name__ == "__main__":
    main()
