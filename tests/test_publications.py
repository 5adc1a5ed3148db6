"""The table of published runs: every row is whole, is what its name says, and stays on its side."""

import hashlib
from collections import Counter
from statistics import median
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError

from plan_published import compare, picture, summarize
from publications import (
    PublishedRun,
    implied_parameters,
    question,
    read_runs,
    reported,
    set_aside,
)
from tsumugu.planning.cluster import table

RUNS = read_runs()
EXAMPLE = RUNS[0]


def changed(run: PublishedRun, **changes: object) -> PublishedRun:
    return PublishedRun.model_validate({**run.model_dump(), **changes})


def test_there_are_runs_of_many_systems() -> None:
    systems = Counter(run.system for run in RUNS)
    assert systems["llm-foundry"] == 216
    assert len(systems) >= 12


def test_no_run_is_there_twice() -> None:
    # The same system may have measured the same twice, on another day: its sources differ then, or figures.
    assert max(Counter(run.model_dump_json() for run in RUNS).values()) == 1


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.key}|{run.layout}|{run.micro_batch}")
def test_a_run_is_what_its_name_says(run: PublishedRun) -> None:
    assert run.source.strip()
    assert run.gpu in table()
    assert run.global_batch % (run.layout.data * run.micro_batch) == 0
    if run.parameters is not None:
        assert implied_parameters(run) == pytest.approx(run.parameters, rel=0.05)


def test_parameters_of_llm_foundry_which_states_them_are_exact() -> None:
    for run in RUNS:
        if run.system == "llm-foundry":
            assert implied_parameters(run) == run.parameters


def test_what_is_reported_is_possible() -> None:
    for run in RUNS:
        tokens = reported(run)
        if tokens is None:
            assert run.measure == "device_hours"
            continue
        workload, _, cluster, _ = question(run)
        # The layers' matrices alone: two operations forward, four backward.
        least = 6 * (implied_parameters(run) - 2 * run.vocab * run.hidden)
        assert 0 < least * tokens < cluster.peak(workload.precision), run.key


def test_a_run_is_set_aside_by_the_digest_of_its_key() -> None:
    run = changed(EXAMPLE, system="s", model="m", sequence=2048)
    key = f"s|m|{run.gpu}|{run.count}|2048"
    assert run.key == key
    assert set_aside(run) == (hashlib.sha256(key.encode()).hexdigest()[0] in {"0", "1", "2", "3", "4", "5"})


def test_layouts_of_one_model_on_one_cluster_are_set_aside_together() -> None:
    other = changed(EXAMPLE, micro_batch=1, checkpointing="none", value=1.0, source="elsewhere")
    assert set_aside(other) == set_aside(EXAMPLE)


def test_about_six_of_sixteen_runs_are_set_aside() -> None:
    keys = {run.key: set_aside(run) for run in RUNS}
    assert sum(keys.values()) / len(keys) == pytest.approx(6 / 16, abs=0.06)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tflop": 3.0}, "Extra inputs"),
        ({"count": 7}, "processes for 7 devices"),
        ({"value": 0.0}, "greater than 0"),
        ({"checkpointing": "some"}, "Input should be"),
    ],
)
def test_a_row_with_a_mistake_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        changed(EXAMPLE, **changes)


def test_every_measure_of_one_run_says_the_same() -> None:
    run = changed(EXAMPLE, measure="tokens_per_second_per_device", value=1000.0)
    tokens = 1000.0
    layers = 12 * run.layers * run.hidden**2
    scores = 2 * run.layers * run.hidden * run.sequence
    head = run.vocab * run.hidden
    once = 2 * layers + 2 * scores
    model_flops = 3 * once + 6 * head
    hours = 10.0
    same: dict[str, tuple[float, int | None]] = {
        "tokens_per_second_per_device": (tokens, None),
        "seconds_per_step": (run.global_batch * run.sequence / tokens / run.count, None),
        "tflops_model": (tokens * model_flops / 1e12, None),
        "tflops_hardware": (tokens * (4 * once + 6 * head) / 1e12, None),
        "mfu": (tokens * model_flops / run.cluster.peak("bfloat16"), None),
        "device_hours": (hours, round(tokens * hours * 3600)),
    }
    for measure, (value, total) in same.items():
        assert reported(changed(run, measure=measure, value=value, tokens=total)) == pytest.approx(tokens)


def test_device_hours_without_tokens_say_nothing_of_the_speed() -> None:
    assert reported(changed(EXAMPLE, measure="device_hours", value=4000.0, tokens=None)) is None


def test_megatron_lm_gathers_weights_once_per_step_and_fsdp_in_every_micro_batch() -> None:
    zero1 = question(changed(EXAMPLE, sharding="zero1"))
    zero3 = question(changed(EXAMPLE, sharding="zero3"))
    assert (zero1[3].sync_every_micro_batch, zero1[1].reshard) == (False, False)
    assert (zero3[3].sync_every_micro_batch, zero3[1].reshard) == (True, True)


def test_a_slower_network_is_the_run_s_own() -> None:
    bloom = next(run for run in RUNS if run.system == "bloom")
    assert bloom.cluster.network_bandwidth == 6.25e9


def test_the_planner_is_within_twelve_percent_of_most_runs_set_aside() -> None:
    found = [compare(run) for run in RUNS if set_aside(run)]
    errors = [abs(line.error) for line in found if line.error is not None]
    assert len(errors) > 100
    assert median(errors) < 0.12
    # Of other systems than the one with most runs, too.
    others = [abs(line.error) for line in found if line.error and line.run.system != "llm-foundry"]
    assert median(others) < 0.12


def test_every_system_and_both_sides_have_a_row() -> None:
    rows = summarize([compare(run) for run in RUNS])
    names = {row.name for row in rows}
    assert {run.system for run in RUNS} - {"line"} < names
    aside, tuned = rows[:2]
    assert (aside.goal, tuned.goal) == (0.12, None)
    assert aside.details is not None
    assert tuned.details is not None
    keys = [
        {(run["system"], run["model"], run["devices"], run["sequence"]) for run in row.details["runs"]}
        for row in (aside, tuned)
        if row.details
    ]
    assert not keys[0] & keys[1]


def test_the_picture_shows_every_run() -> None:
    runs = [line.details() for line in map(compare, RUNS[:20])]
    root = ElementTree.fromstring(picture(runs))
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 20 + 2
    assert all(0 < float(circle.get("cx", 0)) < 560 for circle in circles)
