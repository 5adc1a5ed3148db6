"""The tables of docs/line-2023.md, from the planner. `--write` renews the page."""

import argparse
from dataclasses import replace
from pathlib import Path

from marked_blocks import filled_in

from tsumugu.model.counts import flops_per_token, parameter_count
from tsumugu.planning.cluster import Cluster, find_cluster
from tsumugu.planning.planner import workload
from tsumugu.planning.scaling import BESIROGLU, HOFFMANN, Law
from tsumugu.planning.search import search
from tsumugu.planning.showing import money, way
from tsumugu.planning.timing import mfu, step_time
from tsumugu.planning.workload import OURS, Candidate, Practice, Workload
from tsumugu.recipe import load_recipe
from tsumugu.training.layout import Layout

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "line-2023.md"
HOURS = 4000
"""Of an A100 with 80 GB, for the 1.7B (LINE's blog of 14 August 2023)."""

_UNFUSED = Practice(
    gradient_bytes=2,
    sync_every_micro_batch=False,
    fused_attention=False,
    fused_layers=True,
    recompute_stops=False,
)
_FLASH = replace(_UNFUSED, fused_attention=True, attention_speed=0.5)
_SHARED = Layout(data_shard=16, tensor=2, pipeline=2)
_WAYS: tuple[tuple[str, Candidate, Practice], ...] = (
    (
        "3D parallelism (16 x 2 x 2), all activations computed again, attention without fused kernels",
        Candidate(_SHARED, 4, "full"),
        _UNFUSED,
    ),
    ("the same with FlashAttention 1", Candidate(_SHARED, 4, "full"), _FLASH),
    (
        "data parallelism alone, all activations computed again, FlashAttention 1",
        Candidate(Layout(data_shard=64), 8, "full"),
        _FLASH,
    ),
    (
        "data parallelism alone, nothing computed again, FlashAttention 2, compiled layers: our recipe",
        Candidate(Layout(data_shard=64), 8, "none"),
        OURS,
    ),
)
_TODAY = (
    ("64xA100-80GB", "bfloat16"),
    ("64xH100", "bfloat16"),
    ("64xH100", "float8"),
    ("64xH200", "bfloat16"),
    ("64xB200", "bfloat16"),
)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/line-2023.md")
    tables = {"tokens": tokens_table(), "today": today_table(), "same-loss": same_loss_table()}
    if not parser.parse_args().write:
        print("\n".join(tables.values()), end="")
        return
    PAGE.write_text(filled_in(PAGE, tables), encoding="utf-8")


def tokens_table() -> str:
    """What the hours hold, by how they were used."""
    line, cluster = recipe_workload("japanese-large-lm-1.7b"), find_cluster("64xA100-80GB")
    rows = ["| how | MFU | tokens in 4,000 hours | tokens per parameter |", "|---|---|---|---|"]
    for name, candidate, practice in _WAYS:
        used = mfu(line, cluster, step_time(line, candidate, cluster, practice).seconds)
        tokens = used * most_tokens(line, cluster)
        per_parameter = tokens / parameter_count(line.model, line.vocab_size)
        rows.append(f"| {name} | {used:.1%} | {tokens / 1e9:.0f} billion | {per_parameter:.0f} |")
    return "\n".join(rows) + "\n"


def most_tokens(line: Workload, cluster: Cluster) -> float:
    """Tokens of 4,000 device hours at the peak of the device."""
    flops = HOURS * 3600 * cluster.peak("bfloat16")
    return flops / flops_per_token(line.model, line.vocab_size, line.sequence_length)


def today_table() -> str:
    """The recipe's training on other devices."""
    rows = [
        "| 64 of | precision | layout | MFU | days | device hours | USD |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, precision in _TODAY:
        line = replace(recipe_workload("japanese-large-lm-1.7b"), precision=precision)  # type: ignore[arg-type]
        best = search(line, find_cluster(name)).fastest[0]
        rows.append(
            f"| {name.partition('x')[2]} | {precision} | {way(best.candidate)} | {best.mfu:.1%} | "
            f"{best.hours / 24:.2f} | {best.hours * best.devices:,.0f} | {money(best.usd)} |"
        )
    return "\n".join(rows) + "\n"


def same_loss_table() -> str:
    """What other sizes need for the loss that the law gives LINE's size and our recipe's tokens."""
    line = recipe_workload("japanese-large-lm-1.7b")
    parameters = parameter_count(line.model, line.vocab_size)
    rows = [
        "| law | model | parameters | tokens for the same loss | FLOPs | of the first row |",
        "|---|---|---|---|---|---|",
    ]
    for name, law in (("Besiroglu et al. 2024", BESIROGLU), ("Hoffmann et al. 2022", HOFFMANN)):
        loss = law.loss(parameters, line.tokens)
        first = flops_per_token(line.model, line.vocab_size, line.sequence_length) * line.tokens
        rows.append(
            f"| {name}: {loss:.3f} | japanese-large-lm-1.7b | {parameters / 1e9:.2f} billion | "
            f"{line.tokens / 1e9:.0f} billion | {first:.3g} | 1.00 |"
        )
        for preset in ("tsumugu-1.7b", "tsumugu-3.6b"):
            other = recipe_workload(preset)
            size = parameter_count(other.model, other.vocab_size)
            tokens = tokens_for(law, size, loss)
            flops = tokens * flops_per_token(other.model, other.vocab_size, other.sequence_length)
            rows.append(
                f"| | {preset} | {size / 1e9:.2f} billion | {tokens / 1e9:.0f} billion | {flops:.3g} | "
                f"{flops / first:.2f} |"
            )
        best, tokens = least(law, loss)
        rows.append(
            f"| | the size that needs least | {best / 1e9:.2f} billion | {tokens / 1e9:.0f} billion | "
            f"{6 * best * tokens:.3g} (6 N D) | {6 * best * tokens / first:.2f} |"
        )
    return "\n".join(rows) + "\n"


def tokens_for(law: Law, parameters: float, loss: float) -> float:
    """Tokens with which a model of this size has this loss; the law solved for D."""
    return float((law.b / (loss - law.e - law.a / parameters**law.alpha)) ** (1 / law.beta))


def least(law: Law, loss: float) -> tuple[float, float]:
    """Parameters and tokens of the smallest computation (6 N D) with this loss, by bisection."""
    low, high = 1e18, 1e26
    while high / low > 1 + 1e-9:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if law.loss(*law.best(middle)) < loss else (middle, high)
    return law.best(high)


def recipe_workload(name: str) -> Workload:
    """Of a recipe of this repository."""
    return workload(load_recipe(ROOT / "recipes" / f"{name}.yaml"))


if __name__ == "__main__":
    main()
