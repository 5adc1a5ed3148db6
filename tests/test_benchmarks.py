"""The benchmarks' harness: fair conditions, honest rows. No test here depends on a timing."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import activation_memory
import gpu_mfu
import harness
import preprocessing
import scale_model
import summary
import training_overhead
from conftest import japanese_text
from contestants import conditions, spend_cpu_in_a_child
from corpus_memory import write_synthetic
from corpus_quality import agreement, decide, visible_text
from equivalents import COMPARISONS
from harness import Row, alternate, print_table, read_result, write_result
from processes import run_measured
from trainees import Shape, build, pretrain_config

ROOT = Path(__file__).resolve().parent.parent


def test_contestants_run_in_two_processes_on_the_same_core() -> None:
    affinity, environment = os.sched_getaffinity(0), dict(os.environ)
    ours, peer = alternate(conditions, conditions)
    assert len({ours.result[0], peer.result[0], os.getpid()}) == 3
    assert ours.results == (ours.result,) * 3
    assert ours.result[1] == peer.result[1]
    assert len(ours.result[1]) == 1
    assert ours.result[2] == "1"
    assert (os.sched_getaffinity(0), dict(os.environ)) == (affinity, environment)


def test_the_cpu_seconds_of_child_processes_count() -> None:
    ours, _ = alternate(spend_cpu_in_a_child, conditions, warm_up=False)
    assert ours.result == "済"
    assert len(ours.cpu_runs) == len(ours.wall_runs) == 3
    assert ours.cpu >= 0.02
    assert sorted(ours.cpu_runs)[1] == pytest.approx(ours.cpu, abs=1e-4)


def test_a_median_needs_three_runs() -> None:
    with pytest.raises(ValueError, match="at least 3 runs"):
        alternate(conditions, conditions, runs=2)


def test_ratio_and_goal_follow_the_better_direction() -> None:
    assert Row("速さ", ours=50.0, peer=2.0, unit="MB/s", goal=25).goal_met is True
    assert Row("時間", ours=4.0, peer=2.0, unit="s", goal=1, better="lower").ratio == 0.5
    assert Row("記憶", ours=3e9, unit="bytes", goal=2e9, better="lower").goal_met is False
    assert Row("ただの数", ours=1.0, unit="s").goal_met is None


def test_a_missed_goal_and_different_results_are_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    why = "絵文字の検査が遅い"
    print_table([Row("濾過", ours=10.0, peer=1.0, unit="MB/s", goal=25, equal_results=False, why=why)])
    shown = capsys.readouterr().out
    assert f"GOAL MISSED: 濾過: {why}" in shown
    assert "RESULTS DIFFER: 濾過" in shown
    assert "10.00x" in shown


def test_a_goal_is_neither_met_nor_missed_on_a_busy_machine(capsys: pytest.CaptureFixture[str]) -> None:
    row = Row("並列", ours=2.2, peer=1.0, unit="MB/s", goal=1.8, conclusive=False, why="他の仕事が八割")
    assert row.goal_met is None
    print_table([row])
    assert "INCONCLUSIVE: 並列: 他の仕事が八割" in capsys.readouterr().out


def test_a_result_file_holds_the_figures_their_versions_and_their_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    write_result(
        "corpus_test", [Row("速さ", ours=50.0, peer=2.0, unit="MB/s", goal=25)], packages=["pydantic"]
    )
    row = json.loads((tmp_path / "corpus_test.json").read_text(encoding="utf-8"))[0]
    wanted = {"name", "ours", "peer", "unit", "ratio", "goal", "equal_results", "versions", "machine"}
    assert wanted <= row.keys()
    assert row["ratio"] == 25
    assert row["goal_met"] is True
    assert row["versions"].keys() >= {"python", "tsumugu", "pydantic"}
    assert row["machine"]["cores"] >= 1
    assert read_result("corpus_test") == [row]
    assert read_result("never_run") == []


def test_make_bench_names_the_benchmarks_when_asked_for_an_unknown_one() -> None:
    found = subprocess.run(["make", "bench", "NAME=なし"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode != 0
    assert "corpus_scaling" in found.stdout + found.stderr


def test_the_cost_of_a_command_counts_its_children(tmp_path: Path) -> None:
    child = "import time; block = bytearray(120_000_000); sum(range(2_000_000)); time.sleep(0.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    cost = run_measured([sys.executable, "-c", parent])
    assert cost.peak_rss > 120_000_000
    assert cost.peak_processes == 2
    assert cost.cpu > 0.02
    assert not cost.stopped


def test_a_command_that_takes_too_much_memory_is_stopped_with_its_children() -> None:
    child = "import time; block = bytearray(200_000_000); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    cost = run_measured([sys.executable, "-c", parent], stop_at=150_000_000)
    assert cost.stopped
    assert cost.wall < 50


def test_the_synthetic_corpus_has_the_size_and_the_duplicates_that_were_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl.zst"
    lines = [json.dumps({"text": japanese_text(seed)}, ensure_ascii=False) for seed in range(30)]
    with pa.CompressedOutputStream(pa.OSFile(str(source), "wb"), "zstd") as stream:
        stream.write("\n".join(lines).encode())
    path = tmp_path / "made" / "synthetic.jsonl.zst"
    documents = write_synthetic(path, source, bytes_wanted=1_000_000)
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        data = stream.read()
    texts = [json.loads(line)["text"] for line in data.splitlines()]
    assert 1_000_000 <= len(data) < 1_010_000
    assert len(texts) == documents
    assert 0 < documents - len(set(texts)) < 0.1 * documents
    again = tmp_path / "again.jsonl.zst"
    write_synthetic(again, source, bytes_wanted=1_000_000)
    assert again.read_bytes() == path.read_bytes()


def test_the_cost_model_takes_a_rate_from_a_benchmark_that_was_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    rate = scale_model.Rate("規則", "text", 25.0, "assumed", "corpus_test")
    assert scale_model.rate_of(rate) == (25.0, "assumed")
    write_result("corpus_test", [Row("規則", ours=80.0, unit="MB/CPU s")])
    assert scale_model.rate_of(rate) == (80.0, "measured: benchmarks/results/corpus_test.json, 規則")
    hours = scale_model.megabytes_of("warc") / 98 / 3600
    assert hours == pytest.approx(3e9 * 25e3 / 1e6 / 98 / 3600)


def test_our_side_of_the_quality_comparisons_decides_by_their_rules() -> None:
    iroha = ["いろはにほへと", "ちりぬるを", "わかよたれそ", "つねならむ", "うゐのおくやま"]
    prose = visible_text(japanese_text(1))
    texts = [prose, "品切れです。\n" * 9, "\n".join(iroha), "".join(iroha) + "。"]
    found = decide(texts, COMPARISONS["characters, mix"].rules)
    assert found == ["", "dup_line_frac", "line_punct_ratio", "too_few_sentences"]
    for comparison in COMPARISONS.values():
        assert set(decide(texts, comparison.rules)) <= {"", *comparison.rules}


def test_white_space_that_signals_do_not_count_is_taken_out_before_an_exact_comparison() -> None:
    assert visible_text("\n 前\u3000の 行 \n\t\n\n\r\n次。\n\n") == "前の行\n\n次。"


def test_different_decisions_are_counted_by_reason() -> None:
    found = agreement(["", "short", "short", "", "lists"], ["", "short", "", "stop_words", "lines"])
    assert (found["both_keep"], found["both_drop"], found["differences"]) == (1, 2, 2)
    assert found["differing"] == {"only ours drops: short": 1, "only the peer drops: stop_words": 1}
    assert found["share"] == 0.6


_PREPROCESS = """
import struct, sys, time
if "--append-eod" in sys.argv and sys.argv[-1] == "2":
    print("Time to startup: 0.1")
time.sleep(0.1)
prefix = sys.argv[sys.argv.index("--output-prefix") + 1] + "_text_document"
with open(prefix + ".bin", "wb") as written:
    written.write(struct.pack("<3H", 7, 8, 2))
with open(prefix + ".idx", "wb") as written:
    written.write(struct.pack("<9sQBQQiqqq", b"MMIDIDX", 1, 8, 1, 2, 3, 0, 0, 1))
"""
"""The shape of Megatron-LM's script: what it is told, what it says, what it leaves."""


def test_megatron_lm_is_timed_from_when_it_is_ready_and_its_documents_are_read(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    with pytest.raises(SystemExit, match="no checkout of Megatron-LM"):
        preprocessing.check_checkout(tmp_path)
    (tmp_path / preprocessing.SCRIPT).write_text(_PREPROCESS, encoding="utf-8")
    preprocessing.check_checkout(tmp_path)
    lines, model, prefix = tmp_path / "行.jsonl", tmp_path / "spiece.model", tmp_path / "トークン"
    run = preprocessing.preprocess(tmp_path, lines, model, prefix, workers=2)
    assert 0 < run.wall < run.command
    assert [ids.tolist() for ids in preprocessing.documents_of(run.prefix)] == [[7, 8, 2]]
    with pytest.raises(SystemExit, match="does not know this version"):
        preprocessing.preprocess(tmp_path, lines, model, prefix, workers=1)


def test_megatron_lm_reads_a_document_a_line(tmp_path: Path) -> None:
    texts = ["一行目\n二行目\r\n「三」\u2028行目", ""]
    path = tmp_path / "documents.jsonl"
    preprocessing.write_json_lines(path, texts)
    with path.open(encoding="utf-8") as lines:
        assert [json.loads(line) for line in lines] == [{"text": text} for text in texts]


SMALL = Shape(layers=2, hidden=32, heads=2, vocabulary=64, batch=2, length=16)


def test_the_trainer_and_the_bare_loop_that_it_is_measured_by_compute_the_same() -> None:
    ours, bare = training_overhead._trainer(SMALL, 3), training_overhead._bare(SMALL, 3)
    assert ours["losses"] == bare["losses"]
    assert len(ours["losses"]) == training_overhead.WARM_UP + 3
    assert len(ours["cpu"]) == len(bare["cpu"]) == 3


def test_less_is_kept_where_more_is_computed_again() -> None:
    found = []
    for mode in ("none", "selective", "full"):
        config = pretrain_config(SMALL, 1, **activation_memory.MODES[mode])
        (part,) = build(SMALL, config).parts
        kept, peak = activation_memory.kept_and_peak(part, activation_memory._tokens(SMALL))
        assert peak >= kept
        found.append(kept)
    assert found[0] > found[1] > found[2] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_said_about_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_mfu.py"])
    with pytest.raises(SystemExit, match="nothing was measured"):
        gpu_mfu.main()
    assert read_result("gpu_mfu") == []


def test_the_page_shows_the_results_that_are_there() -> None:
    assert summary.summary() in summary.PAGE.read_text(encoding="utf-8")


def _imports(script: Path) -> set[str]:
    """Modules that a benchmark imports where it begins, by itself or by its neighbours."""
    found: set[str] = set()
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found.union(
        *(_imports(path) for name in found if (path := script.parent / f"{name}.py").is_file())
    )


def test_a_benchmark_that_trains_asks_for_torch() -> None:
    trains = {"torch", "tsumugu.study.running"}
    asking = 0
    for script in sorted((ROOT / "benchmarks").glob("*_*.py")):
        if "def main" in script.read_text(encoding="utf-8") and _imports(script) & trains:
            requirements = ROOT / "benchmarks" / "requirements" / f"{script.stem}.txt"
            assert "torch==" in requirements.read_text(encoding="utf-8"), script.name
            asking += 1
    assert asking > 5
