"""Uploads, against a hub of our own on this machine's loopback."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.release import push as pushing
from tsumugu.release.check import Check, Finding, check_release
from tsumugu.release.push import push
from tsumugu.release.sums import released_files


class Hub(ThreadingHTTPServer):
    """What huggingface_hub says to a hub when it uploads files."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.created: list[dict[str, Any]] = []
        self.branches: list[str] = []
        self.files: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.refuses = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *words: object) -> None:
        pass

    def _say(self, answer: Any, status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._say({"id": "someone/a-model", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub = self.server
        if hub.refuses:
            self._say({"error": "no rights"}, 403)
        elif self.path.endswith("/repos/create"):
            hub.created.append(json.loads(body))
            self._say({"url": f"{hub.address}/someone/a-model", "id": "someone/a-model"})
        elif "/branch/" in self.path:
            hub.branches.append(self.path.rpartition("/")[2])
            self._say({})
        elif "/preupload/" in self.path:
            # Small enough to come with the commit.
            names = [file["path"] for file in json.loads(body)["files"]]
            self._say({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif "/commit/" in self.path:
            hub.commits.append(self.path.rpartition("/commit/")[2])
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    hub.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            address = f"{hub.address}/someone/a-model/commit/{'1' * 40}"
            self._say({"success": True, "commitOid": "1" * 40, "commitUrl": address})
        else:
            self._say({})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Tests before may have said that there is no network.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def checked(finished_run: Path, tmp_path: Path) -> Check:
    """A release with a file that is not of it, taken for good."""
    folder = Path(shutil.copytree(finished_run / "release", tmp_path / "release"))
    return Check(folder, (Finding("all", True, ""),))


def test_the_files_of_the_sums_arrive_in_one_commit(checked: Check, hub: Hub) -> None:
    (checked.folder / ".cache").mkdir()
    (checked.folder / ".cache" / "x").write_text("mine")
    address = push(
        checked, "someone/a-model", private=True, branch="v1", endpoint=hub.address, token="hf_none"
    )
    assert address.endswith("1" * 40)
    assert (hub.created[0]["name"], hub.created[0]["organization"]) == ("a-model", "someone")
    assert hub.created[0].get("private") or hub.created[0].get("visibility") == "private"
    assert (hub.branches, hub.commits) == (["v1"], ["v1"])
    assert sorted(hub.files) == sorted([*released_files(checked.folder), "SHA256SUMS"])
    assert all(hub.files[name] == (checked.folder / name).read_bytes() for name in hub.files)
    assert "manifest.json" not in hub.files


def test_what_the_check_finds_wrong_is_not_uploaded(checked: Check, hub: Hub) -> None:
    (checked.folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(TsumuguError, match=r"is not uploaded: sums: model\.safetensors is not what was"):
        push(check_release(checked.folder), "someone/a-model", endpoint=hub.address, token="hf_none")
    with pytest.raises(TsumuguError, match="write OWNER/NAME"):
        push(checked, "a-model", endpoint=hub.address, token="hf_none")
    assert not hub.created


def test_a_refusal_of_the_hub_is_explained(checked: Check, hub: Hub) -> None:
    hub.refuses = True
    with pytest.raises(TsumuguError, match=r"the hub does not take someone/a-model: .*hf auth login"):
        push(checked, "someone/a-model", endpoint=hub.address, token="hf_none")


@pytest.mark.parametrize(("answer", "uploads"), [("n\n", 0), ("", 0), ("y\n", 1), (None, 1)])
def test_nothing_is_uploaded_unless_somebody_agrees(
    answer: str | None,
    uploads: int,
    checked: Check,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[str] = []

    def stub(check: Check, name: str, **keys: Any) -> str:
        calls.append(name)
        return "address"

    def say(question: str) -> str:
        print(question)
        if not answer:
            raise EOFError
        return answer

    monkeypatch.setattr(pushing, "push", stub)
    monkeypatch.setattr("tsumugu.release.check.check_release", lambda folder: checked)
    monkeypatch.setattr("builtins.input", say)
    words = ["release", "push", str(checked.folder), "someone/a-model"]
    status = main([*words, "--yes"] if answer is None else words)
    assert (len(calls), status) == (uploads, 1 - uploads)
    out, _ = capsys.readouterr()
    assert ("a public repository" in out) == (answer is not None)
