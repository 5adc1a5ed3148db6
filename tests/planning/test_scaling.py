"""The loss to expect of a size and a number of tokens, from published constants and from runs of yours."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tsumugu.errors import TsumuguError
from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import parameter_count
from tsumugu.planning.own_runs import Run, read_runs
from tsumugu.planning.scaling import (
    BESIROGLU,
    HOFFMANN,
    Law,
    describe_fit,
    fit,
    fit_runs,
    published_loss,
)
from tsumugu.planning.workload import Workload

SIZES, LENGTHS = (4e6, 1.2e7, 3.5e7, 1e8), (5e7, 2e8, 8e8, 3.2e9)
OURS = Law(e=2.1, a=300.0, b=900.0, alpha=0.36, beta=0.33)
CHINCHILLA_FLOPS = 6 * 70e9 * 1.4e12
MODEL = ModelConfig(num_hidden_layers=4, hidden_size=256, num_attention_heads=4)


def test_the_corrected_constants_find_chinchilla_the_printed_ones_less_than_half_of_it() -> None:
    """70 B parameters, 1.4 T tokens (Hoffmann et al. 2022, table 4). That the third approach, as printed,
    wants a smaller model on more tokens is what Besiroglu et al. set out from."""
    parameters, tokens = BESIROGLU.best(CHINCHILLA_FLOPS)
    assert parameters == pytest.approx(70e9, rel=0.06)
    assert tokens == pytest.approx(1.4e12, rel=0.06)
    assert HOFFMANN.best(CHINCHILLA_FLOPS)[0] < 35e9


@pytest.mark.parametrize("law", [HOFFMANN, BESIROGLU, OURS])
def test_no_other_split_of_the_computation_has_a_lower_loss(law: Law) -> None:
    parameters, tokens = law.best(1e21)
    assert 6 * parameters * tokens == pytest.approx(1e21)
    for factor in (0.7, 0.95, 1.05, 1.4):
        assert law.loss(parameters * factor, tokens / factor) > law.loss(parameters, tokens)


def test_the_published_loss_of_chinchilla() -> None:
    # 1.8172 + 482.01 / 70e9^0.3478 + 2085.43 / 1.4e12^0.3658, by hand.
    assert published_loss(70e9, 1.4e12) == pytest.approx(1.8172 + 0.0823 + 0.0744, abs=2e-4)


@pytest.mark.parametrize("law", [HOFFMANN, BESIROGLU, OURS])
def test_a_fit_finds_the_law_that_losses_came_from(law: Law) -> None:
    found = fit(runs_of(law)).law
    assert found.e == pytest.approx(law.e, rel=1e-6)
    assert (found.a, found.alpha) == pytest.approx((law.a, law.alpha), rel=1e-5)
    assert (found.b, found.beta) == pytest.approx((law.b, law.beta), rel=1e-5)


def test_with_noise_the_intervals_hold_the_truth_and_a_run_that_went_wrong_changes_little() -> None:
    runs = runs_of(OURS, noise=0.002)
    runs[5] = Run(runs[5].folder, runs[5].parameters, runs[5].tokens, 1.3 * runs[5].loss)
    found = fit(runs)
    assert found.intervals is not None
    for name, interval in found.intervals.items():
        assert interval.low <= getattr(OURS, name) <= interval.high
        assert interval.low < interval.high
    loss, between = found.loss(1e9, 2e10)
    assert loss == pytest.approx(OURS.loss(1e9, 2e10), rel=0.02)
    assert between is not None
    assert between.low <= OURS.loss(1e9, 2e10) <= between.high


def test_the_same_runs_give_the_same_fit_and_fewer_runs_wider_intervals() -> None:
    runs = runs_of(OURS, noise=0.002)
    wide, again, narrow = (fit(part).loss(1e9, 2e10)[1] for part in (runs[:12], runs[:12], runs))
    assert wide == again
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > narrow.high - narrow.low


def test_the_least_number_of_runs_gives_a_law_without_intervals() -> None:
    runs = runs_of(OURS)
    found = fit([runs[place] for place in (0, 1, 6, 7, 8, 14)])
    assert found.law.loss(1e9, 2e10) == pytest.approx(OURS.loss(1e9, 2e10), rel=1e-3)
    assert found.intervals is None
    assert found.loss(1e9, 2e10)[1] is None
    assert "too few different runs for intervals" in describe_fit(found, workload(1000))


@pytest.mark.parametrize(
    ("sizes", "lengths", "words"),
    [
        (SIZES[:1], LENGTHS, ["1 different numbers of parameters", "4 different pairs"]),
        (SIZES[:2], LENGTHS, ["2 different numbers of parameters"]),
        (SIZES, LENGTHS[:1], ["1 different numbers of tokens"]),
    ],
)
def test_runs_that_cannot_tell_the_constants_apart_are_refused(
    sizes: Sequence[float], lengths: Sequence[float], words: list[str]
) -> None:
    with pytest.raises(TsumuguError) as refused:
        fit(runs_of(OURS, sizes=sizes, lengths=lengths))
    assert all(word in str(refused.value) for word in words)
    assert "three or more sizes" in str(refused.value)


def test_losses_that_rise_with_size_follow_no_such_law() -> None:
    upside_down = dict(zip(SIZES, reversed(SIZES), strict=True))
    runs = [Run(r.folder, int(upside_down[r.parameters]), r.tokens, r.loss) for r in runs_of(OURS)]
    with pytest.raises(TsumuguError, match="do not fall with size"):
        fit(runs)


def test_a_description_says_how_far_the_law_is_stretched() -> None:
    found = fit(runs_of(OURS, noise=0.002))
    near, far = workload(1000), workload(10_000_000_000)
    assert "the law is stretched" not in describe_fit(found, near)
    text = describe_fit(found, far)
    assert "times the computation of the largest run" in text
    loss, between = found.loss(parameter_count(MODEL, 512), far.tokens)
    assert between is not None
    assert f"loss {loss:.3f} ({between.low:.3f} to {between.high:.3f}) nats per token" in text


def test_run_folders_are_read_and_fitted(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / str(place), run) for place, run in enumerate(runs_of(OURS))]
    found = fit_runs(folders)
    assert found.law.alpha == pytest.approx(OURS.alpha, rel=1e-5)
    answer = json.loads(json.dumps(found.to_json()))
    assert answer["law"]["beta"] == pytest.approx(OURS.beta, rel=1e-5)
    assert len(answer["runs"]) == len(folders)


def test_the_last_loss_of_a_run_counts(tmp_path: Path) -> None:
    write_run(tmp_path, Run(tmp_path, 1000, 500, 3.25))
    assert [(run.parameters, run.tokens, run.loss) for run in read_runs([tmp_path])] == [(1000, 500, 3.25)]


def test_runs_of_other_tokenizers_or_texts_are_not_mixed(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", Run(tmp_path, 1000, 500, 3.25))
    other = write_run(tmp_path / "other", Run(tmp_path, 2000, 500, 3.0), tokenizer="another")
    with pytest.raises(TsumuguError, match="other has another tokenizer or other held-out text than"):
        read_runs([first, other])


def test_a_folder_without_a_finished_pretraining_is_named(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match=f"{tmp_path} is no run whose pre-training is done"):
        read_runs([tmp_path])
    write_run(tmp_path, Run(tmp_path, 1000, 500, 3.25))
    (tmp_path / "pretrain/metrics.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(TsumuguError, match="manifest or metrics are damaged"):
        read_runs([tmp_path])


def runs_of(
    law: Law, *, noise: float = 0.0, sizes: Sequence[float] = SIZES, lengths: Sequence[float] = LENGTHS
) -> list[Run]:
    draw = np.random.default_rng(3)
    return [
        Run(Path("run"), int(n), int(d), law.loss(n, d) * float(np.exp(noise * draw.standard_normal())))
        for n in sizes
        for d in lengths
    ]


def workload(steps: int) -> Workload:
    return Workload(MODEL, vocab_size=512, sequence_length=128, global_batch_size=8, steps=steps)


def write_run(folder: Path, run: Run, *, tokenizer: str = "one") -> Path:
    """As much of a finished run as a fit reads."""
    manifests = {
        "tokenizer": {"files": {"tokenizer.json": {"sha256": tokenizer}}},
        "tokens": {
            "files": {"validation/00000.npy": {"sha256": "same"}, "train/00000.npy": {"sha256": tokenizer}}
        },
        "pretrain": {"counts": {"parameters": run.parameters}},
    }
    for name, manifest in manifests.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    rows = [
        {"step": 1, "tokens": run.tokens // 2, "loss": 9.0},
        {"step": 1, "tokens": run.tokens // 2, "validation_loss": 9.0},
        {"step": 2, "tokens": run.tokens, "loss": run.loss - 0.5},
        {"step": 2, "tokens": run.tokens, "validation_loss": run.loss},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pretrain/metrics.jsonl").write_text(text, encoding="utf-8")
    return folder
