"""The corpus section: exact counts, and a page that no document can command (in real Chromium)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from report_pages import HOSTILE, open_in, write_report

from tsumugu.corpus.decisions import open_corpus
from tsumugu.files import read_json, write_json
from tsumugu.recipe import Recipe
from tsumugu.report.corpus import safe_json
from tsumugu.report.sweeps import histogram, sweeps


@pytest.fixture
def render(finished_run: Path, recipe: Recipe, tmp_path: Path) -> Callable[..., Path]:
    """Write the report of the finished run with other files in its corpus folder."""

    def write(**files: Any) -> Path:
        corpus = tmp_path / "corpus"
        corpus.mkdir()
        for path in (finished_run / "corpus").iterdir():
            (corpus / path.name).symlink_to(path)
        for name, value in files.items():
            (corpus / f"{name}.json").unlink(missing_ok=True)
            write_json(corpus / f"{name}.json", value)
        return write_report(finished_run, recipe, tmp_path, {"corpus": corpus})

    return write


def hostile_files() -> dict[str, Any]:
    """Every file of a corpus folder that holds what strangers wrote, as hostile as can be."""
    documents = {
        f"{index}{text[:60]}": {"source": text[:300], "url": text[:300], "text": text}
        for index, text in enumerate(HOSTILE)
    }
    bounds = [
        {
            "reason": reason,
            "signal": signal,
            "bound": bound,
            "threshold": threshold,
            "documents": [
                {"id": name, "value": float(index), "fails": [HOSTILE[0]]}
                for index, name in enumerate(documents)
            ],
        }
        for reason, signal, bound, threshold in (
            ("too_short", "characters", "at_least", 100),
            ("source_code", "source_code_share", "at_most", 0.4),
            ("other_language", "hiragana_share", "at_least", 0.15),
        )
    ]
    clusters = [
        {
            "reason": "near_duplicate",
            "size": 2,
            "survivor": {"id": text[:40], "source": text[:99], "url": text[:99], "text": text[:4000]},
            "members": [
                {
                    "id": "x",
                    "source": text[:99],
                    "url": text[:99],
                    "text": f"追記。{text[:3000]}と{text[:500]}",
                }
            ],
        }
        for text in HOSTILE
    ]
    examples = [
        {"id": name, **one, "signals": {"characters": 1.0, "source_code_share": 0.0, "hiragana_share": 0.0}}
        for name, one in documents.items()
    ]
    return {
        "near_thresholds": {"documents": documents, "bounds": bounds},
        "clusters": clusters,
        "examples": {"contained": examples, "kept": examples, "exact_duplicate": examples},
    }


MOVE_EVERYTHING = """
for (const details of document.querySelectorAll("details")) details.open = true;
for (const slider of document.querySelectorAll(".bound input")) {
  for (const place of [0, 1, Math.floor(slider.max / 2), slider.max, 3]) {
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
  }
}
"""


def test_no_document_runs_a_script(render: Callable[..., Path], chromium: str) -> None:
    page = render(**hostile_files())
    found = open_in(
        chromium,
        page,
        MOVE_EVERYTHING
        + """
        found.owned = window.owned ?? null;
        found.live = document.documentElement.classList.contains("live");
        found.scripts = document.scripts.length;
        found.strangers = document.querySelectorAll("img, iframe, object, embed, link, svg[onload]").length;
        found.shown = [...document.querySelectorAll(".document pre")].map((one) => one.textContent);
        found.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
        """,
    )
    assert found["owned"] is None
    # The page's own script did run, and nothing else is there but it, its data, and the driver.
    assert found["live"]
    assert (found["scripts"], found["strangers"]) == (3, 0)
    shown = "\n".join(found["shown"])
    for text in HOSTILE[:5]:
        assert text in shown
    assert "⟨U+202E⟩gnihsif⟨U+2066⟩" in shown
    assert not set(shown) & set("\u202e\u2066\x1b\x00\u2028")
    assert not found["wide"]


def test_the_policy_stops_what_escaping_would_have_missed(render: Callable[..., Path], chromium: str) -> None:
    page = render()
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<h2>Documents</h2>", "".join(HOSTILE[:2])), encoding="utf-8")
    assert open_in(chromium, page, "found.owned = window.owned ?? null;") == {"owned": None}


def test_a_moved_threshold_counts_and_shows_what_it_would_drop(
    render: Callable[..., Path], finished_run: Path, chromium: str
) -> None:
    found = open_in(
        chromium,
        render(),
        """
        const root = document.querySelector('.bound[data-bound="0"]');
        const slider = root.querySelector("input");
        const command = document.getElementById("what-if");
        const data = JSON.parse(document.getElementById("corpus-data").textContent).bounds[0];
        const read = () => ({
          value: root.querySelector(".value").textContent,
          fails: root.querySelector(".fails").textContent,
          decides: root.querySelector(".decides").textContent,
          dropped: root.querySelectorAll(".side.dropped .document").length,
          kept: root.querySelectorAll(".side.kept .document").length,
          command: command.hidden || command.querySelector("code").textContent,
        });
        found.before = read();
        const place = data.grid.findIndex((value) => value > 870);
        slider.value = Math.round(data.places[place] * slider.max);
        slider.dispatchEvent(new Event("input"));
        found.threshold = Number(read().value);
        found.moved = read();
        root.querySelector(".reset").click();
        found.back = read();
        """,
    )
    values = pq.read_table(finished_run / "corpus" / "decisions")["characters"].drop_null().to_numpy()
    assert found["before"] == found["back"]
    assert 850 < found["threshold"] < 900
    assert found["before"]["command"] is True
    assert found["before"]["fails"] == str(np.sum(values < 100))
    assert found["moved"]["fails"] == str(np.sum(values < found["threshold"]))
    assert int(found["moved"]["decides"]) > 0
    assert found["moved"]["dropped"] == found["moved"]["kept"] == 3
    assert found["moved"]["command"] == f"tsumugu corpus what-if runs/tiny too_short={found['threshold']:g}"


def test_every_position_of_every_slider_is_counted_exactly(finished_run: Path) -> None:
    """The oracle: count the documents one by one."""
    corpus = open_corpus(finished_run)
    rows = [
        row
        for row in pq.read_table(finished_run / "corpus" / "decisions").to_pylist()
        if row["characters"] is not None
    ]
    found = sweeps(corpus)
    assert [sweep.rule.reason for sweep in found] == ["too_short", "source_code", "other_language"]
    for sweep in found:
        others = [rule for rule in corpus.rules if rule.reason != sweep.rule.reason]
        assert sweep.grid[sweep.position] == sweep.threshold
        assert list(sweep.grid) == sorted(set(sweep.grid))
        assert sweep.documents == len(rows) == sum(sweep.deciding) + sum(sweep.others)
        for place in range(0, len(sweep.grid), 7):
            bound = sweep.grid[place]
            fails = [
                row
                for row in rows
                if (
                    row[sweep.rule.signal] < bound
                    if sweep.bound == "at_least"
                    else row[sweep.rule.signal] > bound
                )
            ]
            alone = [row for row in fails if not any(rule.fails_value(row[rule.signal]) for rule in others)]
            assert (sweep.fails[place], sweep.decides[place]) == (len(fails), len(alone))
        chart = histogram(sweep)
        assert "nan" not in chart
        assert "inf" not in chart


def test_json_in_a_script_element_cannot_end_it() -> None:
    text = safe_json(HOSTILE)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == HOSTILE


def test_duplicates_are_shown_with_their_differences(render: Callable[..., Path]) -> None:
    survivor = {"id": "a", "source": "s", "url": "a.html", "text": "昨日、港町で古い地図を見た。"}
    member = {"id": "b", "source": "s", "url": "b.html", "text": "昨日、港町で白い帆船を見た。"}
    cluster = {"reason": "near_duplicate", "size": 4, "survivor": survivor, "members": [member]}
    page = render(clusters=[cluster]).read_text(encoding="utf-8")
    assert "昨日、港町で<del>古い地図</del><ins>白い帆船</ins>を見た。" in page
    assert "cluster of 4" in page


def test_a_run_without_the_newer_files_is_shown_too(finished_run: Path, render: Callable[..., Path]) -> None:
    examples = read_json(finished_run / "corpus" / "examples.json")
    page = render(examples=examples).read_text(encoding="utf-8")
    assert "for (int i0 = 0;" in page
    assert "also fails other_language" in page
