"""Reports of finished runs with other inputs, opened in a real Chromium."""

import base64
import hashlib
import html
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tsumugu.engine import Resources
from tsumugu.pipeline import StageContext
from tsumugu.recipe import Recipe
from tsumugu.report import stage

STAGES = ("corpus", "tokenizer", "tokens", "pretrain", "evaluate", "release")

HOSTILE = [
    "<script>window.owned = 'script'</script>",
    "</script><script>window.owned = 'end of script'</script>",
    "<!--<script>window.owned = 'comment'",
    "<img src=x onerror=\"window.owned = 'image'\">",
    '"><svg onload="window.owned = \'attribute\'">',
    "</pre></article></style></title><iframe srcdoc=\"<script>parent.owned = 'frame'</script>\">",
    "{{ 7 * 7 }}{% raw %}${7 * 7}`\\u003c/script\\u003e",
    "\u202egnihsif\u2066 \u200f\u061c紡ぐ\x1b[2J\x00\u2028\u2029\ufeff",
    "]]>&lt;script&gt;&#x3c;script&#x3e;",
    "長い一行" * 100_000,
]


def write_report(run: Path, recipe: Recipe, folder: Path, inputs: Mapping[str, Path]) -> Path:
    """The report of a finished run, with other folders for some stages and without samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "continuations", lambda folder, prompts, **settings: ["" for _ in prompts])
        stage.run(
            StageContext(
                recipe=recipe,
                folder=folder / "out",
                work=folder / "work",
                resources=Resources(1),
                inputs={**{name: run / name for name in STAGES}, **inputs},
            )
        )
    return folder / "out" / "report.html"


def open_in(chromium: str, page: Path, driver: str) -> dict[str, Any]:
    """Open a copy of `page` in which `driver` runs too and fills `found`; return that.

    The driver is allowed by its hash beside the page's own, so that the policy stays in force.
    """
    script = (
        f"const found = {{}};\n{driver}\nconst result = document.createElement('p');"
        "result.id = 'found'; result.textContent = JSON.stringify(found); document.body.append(result);"
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = page.read_text(encoding="utf-8")
    assert text.count("script-src ") == 1
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ")
    copy = page.with_name("driven.html")
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
            f"--user-data-dir={page.with_name('profile')}", "--dump-dom", f"file://{copy}",
        ],
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    dumped = re.search(r'<p id="found">(.*?)</p>', done.stdout.decode("utf-8"), flags=re.DOTALL)
    assert dumped is not None, done.stdout.decode("utf-8")[-2000:]
    result: dict[str, Any] = json.loads(html.unescape(dumped[1]))
    return result
