"""What many tests share: a small world of Japanese pages, and one finished run over it."""

import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from workers import Workers

from tsumugu.engine import Resources
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.tokens.shards import Part, Shard

# How fast a busy machine is says nothing about the code.
settings.register_profile("tsumugu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tsumugu")

_PEOPLE = [
    "祖母",
    "先生",
    "店員",
    "友人",
    "隣人",
    "医者",
    "運転手",
    "漁師",
    "画家",
    "学生",
    "職人",
    "記者",
]
_PLACES = [
    "港町",
    "図書館",
    "山小屋",
    "駅前",
    "市場",
    "公園",
    "博物館",
    "喫茶店",
    "川辺",
    "工場",
    "寺",
    "島",
]
_THINGS = [
    "古い地図",
    "白い帆船",
    "手紙",
    "時計",
    "小さな楽器",
    "青い器",
    "写真機",
    "自転車",
    "望遠鏡",
    "弁当",
    "切符",
    "傘",
]
_ACTS = [
    "見せてくれた",
    "丁寧に直した",
    "静かに眺めていた",
    "遠くまで運んだ",
    "大切にしまった",
    "誰かに譲った",
]
_TIMES = [
    "朝早く",
    "夕暮れに",
    "雨の日に",
    "春になると",
    "去年の冬",
    "ある晴れた日に",
    "毎週日曜日",
    "昨日",
]
_ENDS = [
    "とても楽しい時間だった。",
    "今でもよく覚えている。",
    "理由はまだわからない。",
    "みんなが喜んだ。",
]


def japanese_text(seed: int, sentences: int = 14) -> str:
    """Paragraphs of made-up but grammatical Japanese; another text for every seed."""
    draw = random.Random(seed)
    kana = "あいうえおかきくけこさしすせそたちつてとなにぬねのまみむめもらりるれろ"
    lines = []
    for _ in range(sentences):
        lines.append(
            f"{draw.choice(_TIMES)}、{draw.choice(_PLACES)}で会った{draw.choice(_PEOPLE)}は、"
            f"{draw.randrange(2, 90)}年前の{draw.choice(_THINGS)}を"
            f"「{''.join(draw.choices(kana, k=12))}」と言いながら{draw.choice(_ACTS)}。{draw.choice(_ENDS)}"
        )
    return "\n".join(lines)


def html_page(text: str, *, title: str = "記録", charset: str = "utf-8") -> str:
    """A page with navigation around `text`, one paragraph per line."""
    paragraphs = "".join(f"<p>{line}</p>\n" for line in text.split("\n"))
    return (
        f'<!DOCTYPE html><html lang="ja"><head><meta charset="{charset}"><title>{title}</title></head><body>'
        f'<nav><a href="/">ホーム</a> <a href="/next">次へ</a></nav>'
        f"<main><h1>{title}</h1>{paragraphs}</main><footer>Copyright</footer></body></html>"
    )


def memory_shard(
    tokens: NDArray[np.unsignedinteger],
    offsets: NDArray[np.int64],
    lengths: NDArray[np.int32] | None = None,
    *,
    name: str = "memory",
    source: int = 0,
) -> Shard:
    """A shard of arrays that are in memory already. Without `lengths` it has none to give."""
    arrays: dict[Part, NDArray[Any]] = {"tokens": tokens, "offsets": offsets}
    if lengths is not None:
        arrays["lengths"] = lengths
    return Shard(name, source, len(tokens), len(offsets) - 1, arrays.__getitem__)


def read_documents(folder: Path) -> list[dict[str, Any]]:
    """Id and text of the kept documents below a corpus folder, in order."""
    paths = sorted((folder / "documents").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path, columns=["id", "text"]).to_pylist()]


@pytest.fixture(autouse=True)
def _same_data_folder() -> Iterator[None]:
    """`--data DIR` sets the variable for the whole process; the next test has the one it began with."""
    before = os.environ.get("TSUMUGU_DATA")
    yield
    if before is None:
        os.environ.pop("TSUMUGU_DATA", None)
    else:
        os.environ["TSUMUGU_DATA"] = before


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pages: mostly good Japanese, and one or more of everything that must go."""
    folder = tmp_path_factory.mktemp("pages")
    for number in range(120):
        (folder / f"page-{number:03d}.html").write_text(html_page(japanese_text(number)), encoding="utf-8")
    (folder / "twin.html").write_text(html_page(japanese_text(7)), encoding="utf-8")
    near = japanese_text(8) + "\n追記をしました。"
    (folder / "near.html").write_text(html_page(near), encoding="utf-8")
    together = "\n".join(japanese_text(number) for number in range(20, 26))
    (folder / "whole-manual.html").write_text(html_page(together), encoding="utf-8")
    english = "The quick brown fox jumps over the lazy dog and runs into the wide forest again. " * 12
    (folder / "english.html").write_text(html_page(english), encoding="utf-8")
    code = "\n".join(
        f"for (int i{n} = 0; i{n} < {n}; i{n}++) {{ x[{n}] = y[{n}] * {n}; }}" for n in range(60)
    )
    (folder / "code.html").write_text(html_page(code), encoding="utf-8")
    (folder / "empty.html").write_bytes(b"")
    (folder / "binary.html").write_bytes(bytes(range(256)) * 50)
    lines = ['{"text": "' + japanese_text(500 + n).replace("\n", "\\n") + '"}' for n in range(10)]
    lines += ["{broken", '{"text": 5}']
    (folder / "lines.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


RULES = [
    {"reason": "too_short", "signal": "characters", "at_least": 100},
    {"reason": "source_code", "signal": "source_code_share", "at_most": 0.4},
    {"reason": "other_language", "signal": "hiragana_share", "at_least": 0.15},
]


def recipe_data(pages: Path) -> dict[str, object]:
    """A recipe that runs in seconds."""
    return {
        "name": "tiny",
        "seed": 1,
        "corpus": {
            "inputs": [{"path": str(pages), "source": "test-pages", "license": "CC0-1.0"}],
            "shard_bytes": 40_000,
            "profile": None,
            "transforms": ["unicode_repair", "whitespace", "foreign_paragraphs", "personal_information"],
            "rules": RULES,
        },
        "tokenizer": {"vocab_size": 460, "max_piece_characters": 4},
        "tokens": {"validation_fraction": 0.1},
        "model": {
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
        },
        "pretrain": {
            "steps": 40,
            "global_batch_size": 4,
            "sequence_length": 64,
            "dropout": 0.1,
            "optimizer": {"learning_rate": 0.01},
            "schedule": {"warmup_steps": 5},
            "validation_every": 20,
            "checkpoint_every": 5,
        },
    }


@pytest.fixture(scope="session")
def recipe_path(tmp_path_factory: pytest.TempPathFactory, pages: Path) -> Path:
    """The tiny recipe as a file."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe_data(pages), allow_unicode=True), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def recipe(recipe_path: Path) -> Recipe:
    """The tiny recipe."""
    return load_recipe(recipe_path)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Path:
    """The folder of a whole run that nobody disturbed, on one worker. Tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run_stages(recipe, folder, resources=Resources(1), say=lambda text: None)
    return folder


@pytest.fixture
def write_recipe(tmp_path: Path, pages: Path) -> Callable[[str], Path]:
    """Write a recipe from YAML text, with the pages' folder in the place of PAGES."""

    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text.replace("PAGES", str(pages)), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A real Ray cluster of this machine: two nodes with one CPU each. The tests' process is in it.

    Not for the whole session: a process that is in a cluster is ended by Ray, with status 1 and without a
    word of pytest's, when the cluster does not answer, as on a machine that was held up.
    """
    import ray
    from ray.cluster_utils import Cluster

    # Not below pytest's folders: names of sockets may have only 107 bytes.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as folder:
        patch.setenv("RAY_TMPDIR", folder)
        # Workers import the functions of test modules by name.
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "600")
        patch.setenv("RAY_health_check_failure_threshold", "60")
        cluster = Cluster()
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False)
        ray.init(address=cluster.address, logging_level="warning", log_to_driver=False)
        yield
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Processes for jobs of groups of up to eight."""
    with Workers(8) as found:
        yield found


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser, to see what a page does."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed: the page was not opened in a real browser")
    return found


def _documents(path: Path) -> Iterator[str]:
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        for line in stream.read().split(b"\n"):
            if line:
                yield json.loads(line)["text"]


@pytest.fixture(scope="session")
def real_texts() -> list[str]:
    """About eight hundred texts: articles, prose, statutes, manuals, bulletin boards, other languages."""
    path = Path(os.environ.get("TSUMUGU_DATA", ""), "corpus", "benchmark-mix.jsonl.zst")
    if not os.environ.get("TSUMUGU_DATA") or not path.is_file():
        pytest.skip("the folder named by TSUMUGU_DATA holds no corpus/benchmark-mix.jsonl.zst")
    return [text[:30_000] for text in list(_documents(path))[::20]]
