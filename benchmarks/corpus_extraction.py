"""Quality of main-text extraction: both tiers on thirty pages whose main text is marked.

Beside them stands "all visible text", which finds everything and leaves nothing out: what an
extractor is worth is the difference. Figures are means over pages, each page counting the same.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict
from statistics import mean, median

from goldset import PAGES, GoldPage, Score, read_gold, read_page, score, visible_lines
from harness import Row, print_table, write_result
from tsumugu.corpus.config import ExtractionConfig
from tsumugu.corpus.extraction import extract_text
from tsumugu.corpus.quality_tier import NoAnswer, QualityTier
from tsumugu.errors import TsumuguError

NAME = "corpus_extraction"
TIERS = ("resiliparse", "trafilatura")
_WORST = 5

Marked = list[tuple[GoldPage, str, str]]
"""(page, HTML, main text) of every page of the gold set."""


def read_marked() -> Marked:
    """The gold set with its pages.

    Raises:
        TsumuguError: as `goldset.read_page`.
    """
    return [(page, *read_page(page)) for page in read_gold()]


def scores_of(tier: str, marked: Marked) -> list[Score]:
    """The score of each page in one tier, or of `all visible text`."""
    if tier == "trafilatura":
        with QualityTier(ExtractionConfig(extractor="trafilatura")) as quality:
            return _scores(lambda html: _quality_text(quality, html), marked)
    return _scores(extract_text if tier == "resiliparse" else _visible_text, marked)


def _scores(extract: Callable[[str], str], marked: Marked) -> list[Score]:
    return [score(extract(html), main) for _, html, main in marked]


def _quality_text(quality: QualityTier, html: str) -> str:
    answer = quality.main_text(html)
    return extract_text(html) if isinstance(answer, NoAnswer) else answer


def _visible_text(html: str) -> str:
    return "\n".join(visible_lines(html))


def means(scores: list[Score]) -> dict[str, float]:
    """Over pages: mean precision, recall and F1, and the median of F1."""
    return {
        "precision": round(mean(one.precision for one in scores), 3),
        "recall": round(mean(one.recall for one in scores), 3),
        "f1": round(mean(one.f1 for one in scores), 3),
        "median_f1": round(median(one.f1 for one in scores), 3),
    }


def main() -> None:
    """Score both tiers and all visible text; print, write."""
    try:
        marked = read_marked()
    except TsumuguError as error:
        sys.exit(f"error: {error}")
    print(f"{len(marked)} pages in {PAGES}")
    peer = means(scores_of("all visible text", marked))
    print("all visible text:", peer)
    rows = []
    for tier in TIERS:
        scores = scores_of(tier, marked)
        ours = means(scores)
        print(f"{tier}:", ours)
        pages = sorted(zip(scores, marked, strict=True), key=lambda pair: pair[0].f1)
        for one, (page, _, _) in pages[:_WORST]:
            print(f"  F1 {one.f1:.3f}  P {one.precision:.3f}  R {one.recall:.3f}  {page.path}")
        rows.append(
            Row(
                name=f"{NAME}: {tier}",
                ours=ours["f1"],
                peer=peer["f1"],
                unit="F1",
                why="the peer is all visible text",
                details={
                    "ours": ours,
                    "peer": peer,
                    "pages": {
                        page.path: {name: round(value, 4) for name, value in asdict(one).items()}
                        for one, (page, _, _) in zip(scores, marked, strict=True)
                    },
                },
            )
        )
    print_table(rows)
    print("written to", write_result(NAME, rows, packages=TIERS))


if __name__ == "__main__":
    main()
