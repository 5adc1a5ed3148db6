"""The page: self-contained, complete, and safe to open whatever the pages said."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest

from tsumugu.engine import Resources
from tsumugu.files import read_json, write_json
from tsumugu.pipeline import StageContext
from tsumugu.recipe import Recipe
from tsumugu.report import stage
from tsumugu.report.charts import Bar, Line, bar_chart, line_chart

EVIL = "</pre><script>alert('紡')</script><img src=x onerror=alert(1)>\" onload='x"


def test_the_page_needs_nothing_from_outside(finished_run: Path) -> None:
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)\s*=|url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_the_page_shows_every_reason_signal_and_score(finished_run: Path, recipe: Recipe) -> None:
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    counts = read_json(finished_run / "corpus" / "manifest.json")["counts"]
    for rule in recipe.corpus.rules:
        assert rule.reason in page
        assert f"<h3>{rule.signal} at" in page
    assert f"{counts['in']} in = {counts['kept']} kept + {counts['dropped']} dropped" in page
    assert "kneser_ney_5gram" in page
    assert "for (int i0 = 0;" in page
    assert "binary.html" in page


def test_the_policy_allows_the_page_its_own_script_alone(finished_run: Path) -> None:
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    data, script = re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert f"script-src 'sha256-{digest}';" in html.unescape(policy[1])
    assert json.loads(data)["run"] == "runs/tiny"


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
    write_json(corpus / "examples.json", {"source_code": [evil], "contained": [evil]})
    monkeypatch.setattr(stage, "continuations", lambda folder, prompts, **settings: [EVIL for _ in prompts])
    inputs = {
        name: finished_run / name for name in ("tokenizer", "tokens", "pretrain", "evaluate", "release")
    }
    stage.run(
        StageContext(
            recipe=recipe, folder=tmp_path / "out", work=tmp_path / "work", resources=Resources(1),
            inputs={**inputs, "corpus": corpus},
        )
    )  # fmt: skip
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("&lt;script&gt;alert") >= 4
    assert page.count("<script") == page.count("</script") == 2
    assert "<img" not in page


def test_charts_escape_their_labels() -> None:
    assert "<script" not in bar_chart([Bar(EVIL, 0.5, 0.4, 0.6)], high=1)
    assert "<script" not in line_chart([Line(EVIL, "curve", [1.0], [2.0])], x_label=EVIL, y_label=EVIL)
