"""Wide models change in a step as narrow ones do, with muP; and the page says what the table says."""

import json
from typing import Any, Literal

import coordinate_check
import pytest
from marked_blocks import filled_in

WIDTHS = (64, 128, 256)
LAYERS = ("attention 0", "mlp 0", "attention 1", "mlp 1")


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("adamw", {"architecture": "gpt2"}),
        ("adamw", {"tie_word_embeddings": False}),
        ("adamw", {"architecture": "llama", "qk_norm": True}),
        ("muon", {}),
    ],
    ids=["gpt2", "gpt-neox, untied", "llama", "muon"],
)
def test_what_a_few_steps_change_does_not_grow_with_the_width(
    name: Literal["adamw", "muon"], keys: dict[str, Any]
) -> None:
    growth: dict[str, dict[str, float]] = {}
    for way in coordinate_check.PARAMETRIZATIONS:
        lines = coordinate_check.lines(name, way, widths=WIDTHS, seeds=(0,), **keys)
        growth[way] = {line.activation: line.growth for line in lines}
    standard, mup = growth["standard"], growth["muP"]
    for activation in ("embedding", *LAYERS, "last norm"):
        assert abs(mup[activation]) < (0.25 if name == "adamw" else 0.12), activation
    # Most logits are products of vectors that have little to do with each other, before and after the steps.
    assert -0.55 < mup["logits"] < 0.05
    assert abs(mup["loss"]) < 0.25
    # The same rate for all widths is too much for the wide ones.
    for activation in LAYERS:
        assert standard[activation] - mup[activation] > (0.6 if name == "adamw" else 0.15), activation
    assert standard["logits"] > 0.2


def test_the_exponent_is_that_of_a_power() -> None:
    assert coordinate_check.exponent([2, 4, 16], [3 * width**-0.7 for width in (2, 4, 16)]) == pytest.approx(
        -0.7
    )


def test_the_page_says_what_the_table_and_the_last_check_say() -> None:
    found = json.loads(coordinate_check.NUMBERS.read_text(encoding="utf-8"))
    lines = []
    for line in found["lines"]:
        growth = line.pop("growth")
        lines.append(coordinate_check.Line(**line))
        assert lines[-1].growth == pytest.approx(growth)
    renewed = filled_in(coordinate_check.PAGE, coordinate_check.tables(lines))
    assert coordinate_check.PAGE.read_text(encoding="utf-8") == renewed, (
        "python scripts/coordinate_check.py --write renews docs/lessons/mup.md"
    )
    assert coordinate_check.figure(lines) == coordinate_check.FIGURE.read_text(encoding="utf-8")
