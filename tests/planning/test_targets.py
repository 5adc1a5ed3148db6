"""Tokens, money and time: two say the third."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tsumugu.errors import TsumuguError
from tsumugu.model.config import ModelConfig
from tsumugu.planning.cluster import find_cluster
from tsumugu.planning.search import Plan, search
from tsumugu.planning.targets import Target, parse_budget, parse_hours, parse_tokens, solve
from tsumugu.planning.workload import Workload


@pytest.fixture(scope="module")
def plan() -> Plan:
    model = ModelConfig.model_validate({"preset": "tsumugu-1.7b"})
    return search(Workload(model, 51_200, 4096, 512, 10_000), find_cluster("64xH100"))


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_tokens, "300B", 300e9),
        (parse_tokens, "1.4T", 1.4e12),
        (parse_tokens, "200_000", 200_000),
        (parse_tokens, "2e11", 2e11),
        (parse_tokens, "1,000,000", 1e6),
        (parse_budget, "10000usd", (10_000, None)),
        (parse_budget, "$10,000", (10_000, None)),
        (parse_budget, "1.5k", (1500, None)),
        (parse_budget, "4000h", (None, 4000)),
        (parse_hours, "14d", 336),
        (parse_hours, "36h", 36),
        (parse_hours, "2 weeks", 336),
    ],
)
def test_amounts_are_read_as_people_write_them(
    parse: Callable[[str], object], text: str, value: object
) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_tokens, "many"),
        (parse_tokens, "0"),
        (parse_budget, "10eur"),
        (parse_hours, "14"),
        (parse_hours, "14dogs"),
    ],
)
def test_other_words_are_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(TsumuguError, match=f"'{text}' is no"):
        parse(text)


def test_tokens_alone_take_all_devices(plan: Plan) -> None:
    found = solve(plan, Target(tokens=300e9))
    assert found.estimate.devices == 64
    assert found.steps == round(300e9 / (512 * 4096))
    assert found.estimate.hours == pytest.approx(found.steps * found.estimate.time.seconds / 3600)


def test_a_deadline_takes_the_fewest_devices_that_make_it(plan: Plan) -> None:
    fast = solve(plan, Target(tokens=300e9))
    easy = solve(plan, Target(tokens=300e9, hours=fast.estimate.hours * 5))
    assert easy.estimate.devices == 16
    assert easy.estimate.hours <= fast.estimate.hours * 5
    with pytest.raises(TsumuguError, match="take at least"):
        solve(plan, Target(tokens=300e9, hours=fast.estimate.hours / 2))


def test_a_budget_buys_as_many_tokens_as_it_pays_for(plan: Plan) -> None:
    found = solve(plan, Target(usd=10_000))
    assert found.estimate.usd is not None
    assert 9_990 < found.estimate.usd <= 10_000
    again = solve(plan, Target(tokens=found.tokens, usd=10_001))
    assert again.estimate.usd is not None
    assert again.estimate.usd <= 10_001
    with pytest.raises(TsumuguError, match="cost at least"):
        solve(plan, Target(tokens=found.tokens, usd=5_000))


def test_a_budget_may_be_hours_of_a_device(plan: Plan) -> None:
    found = solve(plan, Target(device_hours=4000)).estimate
    assert 3990 < found.hours * found.devices <= 4000
    price = plan.cluster.usd_per_hour
    assert price is not None
    assert solve(plan, Target(usd=4000 * price)).estimate == found


def test_a_deadline_alone_says_how_many_tokens_are_seen(plan: Plan) -> None:
    found = solve(plan, Target(hours=24))
    assert found.estimate.devices == 64
    assert found.estimate.hours <= 24
    assert solve(plan, Target(hours=24, usd=100)).tokens < found.tokens


def test_a_budget_needs_a_price(plan: Plan) -> None:
    unpriced = search(plan.workload, replace(plan.cluster, usd_per_hour=None))
    with pytest.raises(TsumuguError, match="--usd-per-hour"):
        solve(unpriced, Target(usd=100))
