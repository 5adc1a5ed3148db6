"""The tokenizer section: the run's own figures, and pieces that no page should obey."""

import html
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_pages import HOSTILE, open_in, write_report
from sentencepiece import sentencepiece_model_pb2

from tsumugu.files import read_json, write_json
from tsumugu.pipeline import MANIFEST
from tsumugu.recipe import Recipe
from tsumugu.report.charts import rank_chart
from tsumugu.tokens.split import is_validation
from tsumugu.visible import visible_piece

EVIL_PIECES = [text for text in HOSTILE if len(text) < 1000]


def section(page: str) -> str:
    return page[page.index("<h2>Tokenizer</h2>") : page.index("<h2>Training</h2>")]


def test_the_section_shows_the_run_s_own_figures(finished_run: Path) -> None:
    page = section((finished_run / "report.html").read_text(encoding="utf-8"))
    counts = read_json(finished_run / "tokenizer" / MANIFEST)["counts"]
    frequencies = np.load(finished_run / "tokens" / "frequencies.npy")
    assert set(counts["held_out_sources"]) == {"test-pages"}
    assert counts["held_out_sources"]["test-pages"] == counts["held_out"]
    assert f"<b>{counts['held_out']['characters_per_token']:.2f}</b>" in page
    # Held out the same: once counted by the tokenizer stage, once from the shards.
    assert page.count(f">{counts['held_out']['characters_per_token']:.3f}</td>") == 1
    # Ids 0 to 6 are special tokens, 7 is the line break, and 256 bytes follow.
    assert re.search(rf"\b{np.sum(frequencies[264:] == 0)} of {460 - 7 - 256} ordinary pieces", page)
    assert f"{frequencies.max():,}" in page
    assert "鬱" in page
    for piece in counts["longest_pieces"]:
        assert f"<code>{html.escape(visible_piece(piece))}</code>" in page


@pytest.fixture
def hostile_run(finished_run: Path, recipe: Recipe, tmp_path: Path) -> dict[str, Path]:
    """Folders whose most used pieces, source and held-out document are as hostile as can be."""
    tokenizer, corpus = tmp_path / "tokenizer", tmp_path / "corpus"
    for folder in (tokenizer, corpus):
        folder.mkdir()
        for path in (finished_run / folder.name).iterdir():
            if path.name not in ("spiece.model", MANIFEST, "documents"):
                (folder / path.name).symlink_to(path)
    model = sentencepiece_model_pb2.ModelProto.FromString(
        (finished_run / "tokenizer" / "spiece.model").read_bytes()
    )
    used = np.argsort(-np.load(finished_run / "tokens" / "frequencies.npy"))
    places = [index for index in used.tolist() if index >= 300][: len(EVIL_PIECES)]
    for index, text in zip(places, EVIL_PIECES, strict=True):
        # A model's file holds no null byte.
        model.pieces[index].piece = text.replace(" ", "▁").replace("\0", "\x01")
    (tokenizer / "spiece.model").write_bytes(model.SerializeToString())
    manifest = read_json(finished_run / "tokenizer" / MANIFEST)
    manifest["counts"]["longest_pieces"] = EVIL_PIECES
    write_json(tokenizer / MANIFEST, manifest)

    write_json(corpus / MANIFEST, read_json(finished_run / "corpus" / MANIFEST))
    (corpus / "documents").mkdir()
    fraction = recipe.tokens.validation_fraction
    held_out = next(
        name for name in map(str, range(10_000)) if is_validation(name, seed=recipe.seed, fraction=fraction)
    )
    text = "\n".join(EVIL_PIECES) + "\u3000\t  終"
    rows = {"id": [held_out], "source": ["test-pages"], "text": [text]}
    pq.write_table(pa.table(rows), corpus / "documents" / "00000.parquet")
    return {"tokenizer": tokenizer, "corpus": corpus}


def test_no_piece_commands_the_page(
    hostile_run: dict[str, Path], finished_run: Path, recipe: Recipe, tmp_path: Path, chromium: str
) -> None:
    page = write_report(finished_run, recipe, tmp_path, hostile_run)
    found = open_in(
        chromium,
        page,
        """
        found.owned = window.owned ?? null;
        found.scripts = document.scripts.length;
        found.strangers = document.querySelectorAll("img, iframe, object, embed, link, svg[onload]").length;
        found.pieces = [...document.querySelectorAll(".pieces code")].map((one) => one.textContent);
        found.tokens = [...document.querySelectorAll(".tokens span")].map((one) => one.textContent);
        found.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
        """,
    )
    assert found["owned"] is None
    assert (found["scripts"], found["strangers"]) == (3, 0)
    assert not found["wide"]
    for text in EVIL_PIECES[:5]:
        assert found["pieces"].count(text.replace(" ", "␣")) == 2, text
    shown = "".join(found["tokens"])
    assert all(found["tokens"])
    assert "⟨U+202E⟩" in shown
    assert "↵" in shown
    assert not set("".join([shown, *found["pieces"]])) & set("\u202e\u2066\x1b\x00\u2028\n \t\u3000")


def test_other_tokenizers_stand_beside_the_run_s(finished_run: Path, recipe: Recipe, tmp_path: Path) -> None:
    beside = recipe.report.model_copy(update={"tokenizers": (str(finished_run / "release"),)})
    page = write_report(finished_run, recipe.model_copy(update={"report": beside}), tmp_path, {})
    text = section(page.read_text(encoding="utf-8"))
    assert text.count('<div class="tokens"') == 4
    rows = re.findall(r"<tr><td>(?:this run|[^<]*release)</td>(.*?)</tr>", text, flags=re.DOTALL)
    assert len(rows) == 2
    assert rows[0] == rows[1]


def test_a_chart_of_ranks_marks_where_use_ends() -> None:
    chart = rank_chart(np.array([1000, 10, 1, 0, 0]), x_label="<x>", y_label="y")
    assert "never used from 4 on" in chart
    assert "&lt;x&gt;" in chart
    assert "never used" not in rank_chart(np.array([3, 2]), x_label="x", y_label="y")
    for counts in ([0, 0], [1], [7] * 9):
        assert "nan" not in rank_chart(np.array(counts), x_label="x", y_label="y")
