"""A conversation from the command line: history, commands, and Ctrl-C."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from talkers import write_talker

from tsumugu.cli import main
from tsumugu.talking.memory import NativeMemory

Chat = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> Path:
    """A model that can be asked."""
    return write_talker(tmp_path_factory.mktemp("talkers") / "llama", finished_run / "release")


@pytest.fixture
def chat(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Chat:
    """Run `tsumugu chat` with lines as its input; what it printed and what it told."""

    def run(model: Path, lines: list[str], *options: str) -> tuple[str, str]:
        stdin = io.TextIOWrapper(io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["chat", str(model), *options]) == 0
        found = capsys.readouterr()
        return found.out, found.err

    return run


def saved(path: Path) -> list[dict[str, str]]:
    messages: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))["messages"]
    return messages


def contents(path: Path, role: str) -> list[str]:
    return [message["content"] for message in saved(path) if message["role"] == role]


def test_every_line_is_a_turn_and_the_history_is_kept(talker: Path, chat: Chat, tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    options = ("--max-new-tokens", "6", "--greedy", "--system", "短く。")
    out, _ = chat(talker, ["港町は？", "", f"/save {one}", "駅前は？", f"/save {two}"], *options)
    assert [message["role"] for message in saved(two)] == ["system", "user", "assistant", "user", "assistant"]
    assert saved(two)[:3] == saved(one)
    assert contents(two, "user") == ["港町は？", "駅前は？"]
    assert out.count("\n") >= 2

    # The second answer knows of the first question.
    chat(talker, ["駅前は？", f"/save {one}"], *options)
    assert contents(one, "assistant") != contents(two, "assistant")[1:]


def test_commands(talker: Path, chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    lines = ["一", "二", "/undo", " /三", f"/save {file}", "/quit", "never read"]
    _, told = chat(talker, lines, "--max-new-tokens", "3", "--system", "短く。")
    assert contents(file, "user") == ["一", "/三"]
    assert "(the last turn is taken back)" in told

    lines = ["/undo", "一", "/system 長く。", "/reset", "/save", "/nonsense", "/help", "二", f"/save {file}"]
    out, told = chat(talker, [*lines, f"/save {file}/x"], "--max-new-tokens", "3")
    assert saved(file)[:2] == [{"role": "system", "content": "長く。"}, {"role": "user", "content": "二"}]
    assert "/save FILE    write the conversation" in out
    for part in (
        "nothing to take back",
        "where to? /save FILE",
        "no command /nonsense",
        "is forgotten",
        "not saved: ",
    ):
        assert part in told


def test_an_answer_is_the_same_for_the_same_seed_and_others_later(
    talker: Path, chat: Chat, tmp_path: Path
) -> None:
    def answers(*options: str) -> list[str]:
        file = tmp_path / "talk.json"
        settings = ("--max-new-tokens", "8", "--temperature", "1", *options)
        chat(talker, ["一", f"/save {file}.1", "/reset", "一", f"/save {file}"], *settings)
        return contents(Path(f"{file}.1"), "assistant") + contents(file, "assistant")

    first = answers()
    assert first[0] != first[1]
    assert answers() == first
    assert answers("--seed", "9") != first


def test_a_turn_costs_what_is_new_in_it(talker: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    original = NativeMemory.read

    def watched(memory: NativeMemory, tokens: Any, *, room: int) -> torch.Tensor:
        known = list(memory.known)
        logits = original(memory, tokens, room=room)
        same = next(
            (place for place, pair in enumerate(zip(known, tokens, strict=False)) if pair[0] != pair[1]),
            len(known),
        )
        read.append((len(tokens), same))
        return logits

    monkeypatch.setattr(NativeMemory, "read", watched)
    chat(talker, ["港町で会った人は誰ですか", "駅前は", "寺は"], "--max-new-tokens", "2", "--greedy")
    (first, _), (second, known), (third, later) = read
    # At least the question before, and all before it, are known.
    assert first <= known < second <= later < third


def test_old_turns_are_left_out_when_the_context_is_full(talker: Path, chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    questions = [f"{number}年前の古い地図を見せてくれた人は？" for number in range(8)]
    _, told = chat(talker, [*questions, f"/save {file}"], "--max-new-tokens", "10", "--system", "短く。")
    assert "(the model's context is full: the first turn is left out from now on)" in told
    assert "the first 2 turns are left out" in told
    # They are still there for us.
    assert contents(file, "user") == questions
    assert len(contents(file, "assistant")) == 8


def test_a_question_that_is_too_long_is_told_and_forgotten(talker: Path, chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    _, told = chat(talker, ["一", "長い" * 300, "二", f"/save {file}"], "--max-new-tokens", "3")
    assert "error: this question makes a prompt of" in told
    assert contents(file, "user") == ["一", "二"]


def test_lines_form_stops_before_the_next_question(
    finished_run: Path, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["chat", str(finished_run)]) == 1
    words = ["高知県", "、", "徳島県", "\n", "ユーザー", ":", "次"]
    monkeypatch.setattr(
        "tsumugu.talking.spelling.Spelling.bytes_of", lambda *_: (words.pop(0) if words else "").encode()
    )
    file = tmp_path / "talk.json"
    options = ("--template", "line", "--max-new-tokens", "20", "--temperature", "1")
    out, _ = chat(finished_run, ["四国", f"/save {file}"], *options)
    assert out == "高知県、徳島県\n"
    assert contents(file, "assistant") == ["高知県、徳島県"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.02)


def say_nothing_but(folder: Path, piece: str) -> None:
    """Let a GPT-2 write one piece again and again, whatever it is asked.

    What a random model says depends on how far it was let speak before, and may be nothing at all.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    token = tokenizer.convert_tokens_to_ids(piece)
    assert token != tokenizer.unk_token_id
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1)
        model.lm_head.weight[token] = 10
    model.save_pretrained(folder)


def test_ctrl_c_stops_the_answer_and_not_the_program(finished_run: Path, tmp_path: Path) -> None:
    settings: dict[str, object] = {"do_sample": False, "repetition_penalty": 1.0}
    folder = write_talker(
        tmp_path / "model", finished_run / "release", "gpt2", positions=100_000, settings=settings
    )
    say_nothing_but(folder, "の")
    out, err, file = tmp_path / "out", tmp_path / "err", tmp_path / "talk.json"
    command = [sys.executable, "-m", "tsumugu", "chat", str(folder), "--max-new-tokens", "90000"]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)
    assert process.stdin is not None

    def say(line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()

    try:
        for turn, question in enumerate(("港町は？", "駅前は？")):
            seen = out.stat().st_size
            say(question)
            wait_for(lambda seen=seen: out.stat().st_size > seen + 300, process, err)  # type: ignore[misc]
            os.kill(process.pid, signal.SIGINT)
            wait_for(
                lambda turn=turn: err.read_text(encoding="utf-8").count("(stopped)") == turn + 1,  # type: ignore[misc]
                process,
                err,
            )
        say(f"/save {file}")
        wait_for(file.exists, process, err)
        # Nothing is written now: the program ends.
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdin.close()
    # What was seen of the answers stays.
    answers = contents(file, "assistant")
    assert len(answers) == 2
    assert all(len(answer.encode()) > 20 for answer in answers)
    # Nothing was shown in part.
    assert out.read_text(encoding="utf-8").count("\n") >= 2
    assert "Traceback" not in err.read_text(encoding="utf-8")
