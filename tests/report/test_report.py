"""The page: self-contained, complete, and safe to open whatever the pages said."""

import re
from pathlib import Path

import numpy as np
import pytest

from tsumugu.files import read_json, write_json
from tsumugu.pipeline import StageContext
from tsumugu.recipe import Recipe
from tsumugu.report import stage
from tsumugu.report.charts import Bar, Line, bar_chart, histogram, line_chart

EVIL = "</pre><script>alert('紡')</script><img src=x onerror=alert(1)>\" onload='x"


def test_the_page_needs_nothing_from_outside(finished_run: Path) -> None:
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"(?:src|href)\s*=", page)
    assert "default-src 'none'" in page


def test_the_page_shows_every_reason_signal_and_score(finished_run: Path, recipe: Recipe) -> None:
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    counts = read_json(finished_run / "corpus" / "manifest.json")["counts"]
    for rule in recipe.corpus.rules:
        assert rule.reason in page
        assert f"<h3>{rule.signal}</h3>" in page
    assert f"{counts['in']} in = {counts['kept']} kept + {counts['dropped']} dropped" in page
    assert "kneser_ney_5gram" in page
    assert "for (int i0 = 0;" in page
    assert "binary.html" in page


def test_hostile_text_is_shown_and_not_run(
    finished_run: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in (finished_run / "corpus").iterdir():
        (corpus / path.name).symlink_to(path)
    (corpus / "examples.json").unlink()
    signals = read_json(finished_run / "corpus" / "examples.json")["kept"][0]["signals"]
    evil = {"id": EVIL, "url": EVIL, "source": EVIL, "text": EVIL, "signals": signals}
    write_json(corpus / "examples.json", {"source_code": [evil]})
    monkeypatch.setattr(stage, "generate", lambda folder, prompts, **settings: [EVIL for _ in prompts])
    inputs = {
        name: finished_run / name for name in ("tokenizer", "tokens", "pretrain", "evaluate", "release")
    }
    stage.run(
        StageContext(
            recipe=recipe, folder=tmp_path / "out", work=tmp_path / "work", workers=1,
            inputs={**inputs, "corpus": corpus},
        )
    )  # fmt: skip
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("&lt;script&gt;alert") >= 4
    assert "<script" not in page
    assert "<img" not in page


def test_charts_escape_their_labels_and_bear_odd_numbers() -> None:
    assert "<script" not in bar_chart([Bar(EVIL, 0.5, 0.4, 0.6)], high=1)
    assert "<script" not in line_chart([Line(EVIL, "curve", [1.0], [2.0])], x_label=EVIL, y_label=EVIL)
    for kept, dropped in (([], []), ([1.0], []), ([0.0, 0.0], [0.0]), ([1e9], [1e-9])):
        chart = histogram(np.array(kept), np.array(dropped), thresholds=[0.5])
        assert "nan" not in chart
        assert "inf" not in chart
