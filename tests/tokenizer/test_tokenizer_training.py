"""Training shows what it does, records what it saw, and fails with words that help."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import sentencepiece as spm
from document_shards import write_shards

from conftest import japanese_text
from tsumugu.errors import TsumuguError
from tsumugu.tokenizer import trainer, training_process
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.sampling import Document, Split
from tsumugu.tokenizer.training import train_sentencepiece
from tsumugu.tokenizer.training_process import train_in_process

CONFIG = TokenizerConfig(vocab_size=700, threads=1)
DOCUMENTS = [Document(f"source {n % 2}", japanese_text(n)) for n in range(40)]
NOTHING_HELD_OUT = Split(seed=0, fraction=1e-9)


def shard(folder: Path) -> list[Path]:
    rows = [(f"id-{n}", document.source, document.text) for n, document in enumerate(DOCUMENTS)]
    return write_shards(folder, rows, [len(rows)])


EVERYTHING = {"source 0": 1.0, "source 1": 1.0}


def test_the_same_text_gives_the_same_model_in_any_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, seen = train_sentencepiece(DOCUMENTS, CONFIG)
    other, recorded = train_in_process(
        shard(tmp_path / "in"), EVERYTHING, NOTHING_HELD_OUT, CONFIG, work=tmp_path / "work"
    )
    assert other == model
    assert recorded["documents"] == dict(seen.documents) == {"source 0": 20, "source 1": 20}
    assert sum(recorded["characters"].values()) == sum(len(one.text) for one in DOCUMENTS)
    assert "tokenizer: train: 100%" in capfd.readouterr().err
    # What was trained is not trained again.
    assert train_in_process([], {}, NOTHING_HELD_OUT, CONFIG, work=tmp_path / "work")[0] == model


def test_long_lines_are_divided_and_not_lost() -> None:
    # 5,000 of these in one line, far beyond the 4192 bytes at which SentencePiece leaves a line out.
    long = Document("web", "".join(chr(0x4E00 + n % 50) for n in range(5000)))
    model, seen = train_sentencepiece([*DOCUMENTS, long], CONFIG)
    processor = spm.SentencePieceProcessor(model_proto=model)
    assert processor.unk_id() not in processor.encode(long.text)
    assert not any(processor.is_byte(index) for index in processor.encode(long.text))
    assert seen.divided_lines == 1
    assert seen.lines == sum(one.text.count("\n") + 1 for one in DOCUMENTS) + 1


def test_too_little_text_is_said_by_either_process(tmp_path: Path) -> None:
    large = TokenizerConfig(vocab_size=40_000, threads=1)
    with pytest.raises(TsumuguError, match="vocabulary of 40000 pieces"):
        train_sentencepiece(DOCUMENTS, large)
    with pytest.raises(TsumuguError, match="vocabulary of 40000 pieces"):
        train_in_process(shard(tmp_path / "in"), EVERYTHING, NOTHING_HELD_OUT, large, work=tmp_path / "work")


def test_a_killed_trainer_is_no_mystery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow = training_process._follow

    def kill_first(lines: object, vocab_size: int) -> list[str]:
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and _is_trainer(folder):
                os.kill(int(folder.name), signal.SIGKILL)
        return follow(lines, vocab_size)  # type: ignore[arg-type]

    monkeypatch.setattr(training_process, "_follow", kill_first)
    with pytest.raises(TsumuguError, match="killed by signal 9"):
        train_in_process(shard(tmp_path / "in"), EVERYTHING, NOTHING_HELD_OUT, CONFIG, work=tmp_path / "work")
    assert not (tmp_path / "work" / training_process.MODEL).exists()


def _is_trainer(folder: Path) -> bool:
    try:
        words = (folder / "cmdline").read_bytes().split(b"\0")
        parent = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return False
    return trainer.__name__.encode() in words and parent == os.getpid()


def test_the_trainer_ends_when_nobody_listens(tmp_path: Path) -> None:
    lifeline, our_end = os.pipe()
    command = [sys.executable, "-m", trainer.__name__, str(lifeline), str(tmp_path / "model"), "{}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[lifeline]) as process:
        os.close(lifeline)
        # It waits for text, and would wait forever.
        os.close(our_end)
        assert process.wait(timeout=60) == 1


def test_text_that_cannot_be_read_to_its_end_trains_nothing(tmp_path: Path) -> None:
    (path,) = shard(tmp_path / "in")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(pa.ArrowInvalid):
        train_in_process([path, damaged], EVERYTHING, NOTHING_HELD_OUT, CONFIG, work=tmp_path / "work")
    assert not (tmp_path / "work" / training_process.MODEL).exists()


def test_what_the_trainer_says_last_is_told(tmp_path: Path) -> None:
    (tmp_path / "work" / training_process._AS_TRAINED).mkdir(parents=True)
    with pytest.raises(TsumuguError, match=r"ended with status 1(.|\n)*IsADirectoryError"):
        train_in_process(shard(tmp_path / "in"), EVERYTHING, NOTHING_HELD_OUT, CONFIG, work=tmp_path / "work")
