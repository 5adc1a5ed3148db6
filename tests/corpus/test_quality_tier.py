"""Trafilatura in its own process: whatever happens to it, the page still has a text."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import html_page, japanese_text
from tsumugu.corpus import quality_tier, trafilatura_worker
from tsumugu.corpus.config import ExtractionConfig
from tsumugu.corpus.quality_tier import NoAnswer, QualityTier, end_shared_tier, shared_tier
from tsumugu.errors import TsumuguError

PAGE = html_page(japanese_text(3), title="旅の記録")

FAKE = """
import ctypes, os, signal, sys, time, types

def extract(html, **options):
    if "endless" in html:
        while True:
            pass
    if "asleep" in html:
        time.sleep(1000)
    if "crash" in html:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "refuse" in html:
        raise ValueError("吾輩には読めない")
    if "noise" in html:
        print("noise on standard output")
        os.write(1, b"more noise")
    if "greedy" in html:
        bytearray(10 ** 11)
    if "large" in html:
        bytearray(600_000_000)
    if "crowded" in html and kept:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "leak" in html:
        kept.append(bytearray(os.urandom(1)) * 400_000_000)
    if "nothing" in html:
        return None
    return f"{os.getpid()} {html}"

kept = []
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExtractionConfig:
    """A module in trafilatura's place that does what a page tells it to."""
    (tmp_path / "trafilatura.py").write_text(FAKE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    return ExtractionConfig(extractor="trafilatura", seconds=0.3, pages_per_process=100)


def process_of(text: str | NoAnswer) -> str:
    assert isinstance(text, str), text
    return text.split(" ")[0]


def test_the_text_stays_and_the_navigation_goes() -> None:
    with QualityTier(ExtractionConfig(extractor="trafilatura")) as tier:
        text = tier.main_text(PAGE)
    assert isinstance(text, str)
    assert all(line in text for line in japanese_text(3).split("\n"))
    assert "ホーム" not in text


@pytest.mark.parametrize(
    "page", ["", "<", "\0", "<p>", "<?xml version='1.0' encoding='EUC-JP'?><html><p>猫</p>"]
)
def test_odd_pages_are_answered(page: str) -> None:
    with QualityTier(ExtractionConfig(extractor="trafilatura")) as tier:
        assert isinstance(tier.main_text(page), str | NoAnswer)
        assert isinstance(tier.main_text(PAGE), str)


def test_one_process_answers_many_pages(fake: ExtractionConfig) -> None:
    with QualityTier(fake) as tier:
        assert len({process_of(tier.main_text(f"頁{number}")) for number in range(50)}) == 1
        assert tier.main_text("nothing") == ""


def test_a_page_that_never_ends_is_given_up_and_the_next_is_answered(fake: ExtractionConfig) -> None:
    with QualityTier(fake) as tier:
        first = process_of(tier.main_text("一"))
        started = time.monotonic()
        assert tier.main_text("endless") == NoAnswer(
            "no text within 0.3 s of processor time", took_too_long=True
        )
        assert time.monotonic() - started < 60
        assert process_of(tier.main_text("二")) != first


def test_a_page_that_only_waits_is_given_up(fake: ExtractionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_tier, "_WALL_FACTOR", 1)
    monkeypatch.setattr(quality_tier, "_WALL_SECONDS", 1)
    with QualityTier(fake) as tier:
        assert tier.main_text("asleep") == NoAnswer("it hung", took_too_long=True)
        assert process_of(tier.main_text("二"))


def test_a_crash_costs_its_page_alone(fake: ExtractionConfig) -> None:
    with QualityTier(fake) as tier:
        assert tier.main_text("crash") == NoAnswer(f"it ended with status -{signal.SIGSEGV.value}")
        assert process_of(tier.main_text("二"))


def test_errors_and_lack_of_memory_are_reported_and_the_process_goes_on(fake: ExtractionConfig) -> None:
    with QualityTier(fake) as tier:
        before = _children()
        assert tier.main_text("refuse") == NoAnswer("ValueError: 吾輩には読めない")
        (new,) = _children() - before
        first = process_of(tier.main_text("一"))
        assert first == new
        # A process that had other pages before may have lacked memory for theirs: a new one is asked.
        answer = tier.main_text("greedy")
        assert isinstance(answer, NoAnswer)
        assert "MemoryError" in answer.why
        second = process_of(tier.main_text("二"))
        assert second != first
        assert process_of(tier.main_text("三")) == second


def test_a_page_does_not_suffer_from_those_before_it(fake: ExtractionConfig) -> None:
    settings = fake.model_copy(update={"megabytes_per_process": 900, "seconds": 10.0})
    with QualityTier(settings) as tier:
        first = process_of(tier.main_text("leak"))
        # 400 megabytes are left there, less than half of what it may hold; 600 are too many beside them.
        second = process_of(tier.main_text("large"))
        assert second != first
        tier.main_text("leak")
        third = process_of(tier.main_text("crowded"))
        assert third not in (first, second)


def test_no_answer_is_taken_for_that_to_the_next_page(
    fake: ExtractionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        with shared_tier(fake) as tier:
            tier.main_text("一")
        with monkeypatch.context() as changed, shared_tier(fake) as tier:
            changed.setattr(tier, "_answer", stop)
            with pytest.raises(KeyboardInterrupt):
                tier.main_text("二")
        with shared_tier(fake) as tier:
            answer = tier.main_text("三")
            assert isinstance(answer, str)
            assert answer.endswith("三")
    finally:
        end_shared_tier()


def test_a_process_that_nobody_asks_leaves(fake: ExtractionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(trafilatura_worker.__file__).read_text(encoding="utf-8")
    assert source.count("IDLE_SECONDS = 60\n") == 1
    impatient = Path(os.environ["PYTHONPATH"]) / "impatient.py"
    impatient.write_text(source.replace("IDLE_SECONDS = 60\n", "IDLE_SECONDS = 0.2\n"), encoding="utf-8")
    monkeypatch.setattr(trafilatura_worker, "__file__", str(impatient))
    with QualityTier(fake) as tier:
        first = process_of(tier.main_text("一"))
        # Until it has gone; the tier is the one that buries it.
        os.waitid(os.P_PID, int(first), os.WEXITED | os.WNOWAIT)
        assert process_of(tier.main_text("二")) != first


IMPORTED_EARLY = """
import sys
from pathlib import Path
from dataclasses import dataclass

from tsumugu.corpus.config import ExtractionConfig
from tsumugu.corpus.quality_tier import shared_tier
from tsumugu.engine import Resources, map_shards


@dataclass(frozen=True)
class Task:
    output: Path


def ask(task):
    with shared_tier(ExtractionConfig(extractor="trafilatura")) as tier:
        task.output.write_text(tier.main_text("頁").split(" ")[0])


if __name__ == "__main__":
    map_shards(ask, [Task(Path(sys.argv[1]))], resources=Resources(1), description="test")
"""


@pytest.mark.usefixtures("fake")
def test_a_worker_ends_its_process_before_itself(tmp_path: Path) -> None:
    program, output = tmp_path / "program.py", tmp_path / "process"
    program.write_text(IMPORTED_EARLY, encoding="utf-8")
    subprocess.run([sys.executable, str(program), str(output)], check=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(output.read_text()), 0)


def test_the_process_goes_on_with_the_next_shard_unless_it_has_grown(fake: ExtractionConfig) -> None:
    def ask(page: str, settings: ExtractionConfig = fake) -> str:
        with shared_tier(settings) as tier:
            return process_of(tier.main_text(page))

    try:
        first = ask("一")
        assert ask("二") == first
        larger = fake.model_copy(update={"megabytes_per_process": 2000, "seconds": 10.0})
        second = ask("三", larger)
        assert second != first
        assert ask("leak", larger) == second
        assert ask("四", larger) != second
        last = int(ask("五"))
    finally:
        end_shared_tier()
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def test_what_a_library_prints_does_not_disturb(fake: ExtractionConfig) -> None:
    with QualityTier(fake) as tier:
        assert process_of(tier.main_text("noise")) == process_of(tier.main_text("二"))


def test_the_process_is_replaced_after_some_pages_and_when_it_has_grown(fake: ExtractionConfig) -> None:
    settings = fake.model_copy(update={"pages_per_process": 2, "megabytes_per_process": 700})
    with QualityTier(settings) as tier:
        processes = [process_of(tier.main_text("頁")) for _ in range(6)]
    assert len(set(processes)) == 3
    # Touching 400 megabytes takes a busy machine its time.
    settings = fake.model_copy(update={"megabytes_per_process": 700, "seconds": 10.0})
    with QualityTier(settings) as tier:
        first = process_of(tier.main_text("leak"))
        assert process_of(tier.main_text("二")) != first


def test_no_process_is_left_behind(fake: ExtractionConfig) -> None:
    with QualityTier(fake) as tier:
        process = int(process_of(tier.main_text("一")))
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_no_process_outlives_a_parent_that_was_killed(fake: ExtractionConfig) -> None:
    program = f"""
import os, signal
from tsumugu.corpus.config import ExtractionConfig
from tsumugu.corpus.quality_tier import QualityTier
with QualityTier(ExtractionConfig.model_validate({fake.model_dump()!r})) as tier:
    print(tier.main_text("一").split(" ")[0], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    source = str(Path(quality_tier.__file__).parents[2])
    paths = os.pathsep.join([source, os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    for _ in range(100):
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the trafilatura process still runs")


def test_a_process_that_cannot_start_is_an_error_and_no_fallback(
    fake: ExtractionConfig, tmp_path: Path
) -> None:
    (tmp_path / "trafilatura.py").write_text("raise ImportError('broken')")
    with QualityTier(fake) as tier, pytest.raises(TsumuguError, match="did not start"):
        tier.main_text("一")


def test_a_missing_trafilatura_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TsumuguError, match=r"tsumugu\[trafilatura\]"):
        QualityTier(ExtractionConfig(extractor="trafilatura")).__enter__()


@pytest.fixture(autouse=True)
def no_zombies() -> Iterator[None]:
    """Every child is waited for (other tests of this process may have left some of their own)."""
    before = _children()
    yield
    assert _children() <= before


def _children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
