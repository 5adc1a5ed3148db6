"""Models, texts and tasks by their names on the Hugging Face hub: here one of our own, on the loopback."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_models import write_small_model

from conftest import japanese_text
from tsumugu.files import read_json

_COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Files below a folder, `models/OWNER/NAME` and `datasets/OWNER/NAME`, as the hub gives them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.folder = folder


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *words: object) -> None:
        pass

    def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": _COMMIT, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _say(self, answer: Any) -> None:
        self._send(json.dumps(answer).encode(), Content_Type="application/json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlparse(self.path)
        path = unquote(address.path)
        if asked := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(/.*)?", path):
            self._tell(asked[1], asked[2], asked[3] or "", deep="recursive=true" in address.query.lower())
        elif asked := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/[^/]+/(.*)", path):
            self._give(self.server.folder / (asked[1] or "models") / asked[2] / asked[3])
        else:
            self._send(b"", 404, X_Error_Code="RepoNotFound")

    def _tell(self, kind: str, name: str, rest: str, *, deep: bool) -> None:
        folder = self.server.folder / kind / name
        if not folder.is_dir():
            self._send(b"", 404, X_Error_Code="RepoNotFound")
        elif rest.startswith("/tree/"):
            below = folder / "/".join(rest.split("/")[3:])
            self._say([_entry(one, folder) for one in sorted(below.rglob("*") if deep else below.iterdir())])
        else:
            files = [str(one.relative_to(folder)) for one in sorted(folder.rglob("*")) if one.is_file()]
            self._say({"id": name, "sha": _COMMIT, "siblings": [{"rfilename": one} for one in files]})

    def _give(self, path: Path) -> None:
        if not path.is_file():
            self._send(b"", 404, X_Error_Code="EntryNotFound")
            return
        data = path.read_bytes()
        tag = f'"{hashlib.sha1(data).hexdigest()}"'
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
            place = f"bytes {first}-{last}/{len(data)}"
            self._send(data[first : last + 1], 206, ETag=tag, Content_Range=place)
        else:
            self._send(data, ETag=tag)


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    name = str(path.relative_to(folder))
    entry = {"path": name, "oid": hashlib.sha1(name.encode()).hexdigest()}
    if path.is_dir():
        return {"type": "directory", **entry}
    return {"type": "file", "size": path.stat().st_size, **entry}


@pytest.fixture
def hub(tmp_path: Path, finished_run: Path) -> Iterator[Hub]:
    """With one model, one text, and AI王's questions."""
    folder = tmp_path / "hub"
    write_small_model(folder / "models" / "someone" / "a-model", finished_run / "release", "llama")
    for name, split, rows in (
        ("someone/novels", "train", [{"text": japanese_text(number, 2)} for number in range(5)]),
        (
            "sbintuitions/aio-extended-answers",
            "validation",
            [{"question": f"日本で{number}番目に高い山は？", "answers": ["富士山"]} for number in range(4)],
        ),
    ):
        data = folder / "datasets" / name / "data"
        data.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), data / f"{split}-00000-of-00001.parquet")
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def evaluate(hub: Hub, folder: Path, *words: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: the libraries read where the hub is when they are imported."""
    left_out = ("TSUMUGU_DATA", "HF_TOKEN", "HF_DATASETS_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "tsumugu", "evaluate", "model", *words, "--output", str(folder / "out")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_a_text_and_a_task_come_by_name(hub: Hub, tmp_path: Path) -> None:
    words = ("someone/a-model", "--text", "hf://datasets/someone/novels", "--tasks", "aio")
    done = evaluate(hub, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    results = read_json(tmp_path / "out" / "someone--a-model" / "results.json")
    assert results["perplexity"]["someone--novels"]["documents"] == 5
    assert results["tasks"]["aio"]["questions"] == 4
    # What was downloaded is there without a network, for a model and a task.
    again = evaluate(hub, tmp_path, "someone/a-model", "--tasks", "aio", "--limit", "2", offline=True)
    assert again.returncode == 0, again.stderr
    nobody = evaluate(hub, tmp_path, "someone/none", "--tasks", "kotowari")
    assert nobody.returncode == 1
    assert "the Hugging Face hub does not give a model of this name" in nobody.stderr
