"""Whether activations keep their size when models grow wider: the check of Yang et al. 2022, appendix D.

Models of several widths take a few steps on the same random tokens, in the standard parametrization and with
`model.mup_base_width`. For every activation it is measured how large its numbers are on average, at first
and after the steps, and by how much the steps changed them: a change that grows with the width asks
for another rate at every width. `--write` renews docs/lessons/mup.md with its figure (minutes).
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import plots
import torch
import torch.nn.functional as F
from marked_blocks import filled_in
from torch import Tensor, nn

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize
from tsumugu.model.parametrization import TABLE, carried
from tsumugu.training.config import OptimizerConfig
from tsumugu.training.optimizer import build_optimizer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "lessons" / "mup.md"
FIGURE = ROOT / "docs" / "images" / "coordinate-check.svg"
NUMBERS = ROOT / "docs" / "images" / "coordinate-check.json"

WIDTHS = (64, 128, 256, 512)
"""The first of them is the base."""
SEEDS = (0, 1, 2)
STEPS = 4
VOCABULARY = 256
HEAD_SIZE = 16
RATE = 0.01
"""Of AdamW and of Muon, at the base."""
OPTIMIZERS: tuple[Literal["adamw", "muon"], ...] = ("adamw", "muon")
PARAMETRIZATIONS = ("standard", "muP")


@dataclass(frozen=True)
class Size:
    """The mean absolute value of an activation's numbers."""

    first: float
    """Before the first step."""
    last: float
    """After the last one."""
    change: float
    """Of the difference between the two."""


@dataclass(frozen=True)
class Line:
    """One activation at all widths, the mean over seeds."""

    optimizer: str
    parametrization: str
    activation: str
    first: list[float]
    last: list[float]
    change: list[float]

    @property
    def growth(self) -> float:
        """The power of the width that the change grows by."""
        return exponent(WIDTHS[: len(self.change)], self.change)


def model_of(width: int, base: int | None, **keys: Any) -> ModelConfig:
    """A small model of `width`, for rates that are meant for `base`; None: for its own width."""
    return ModelConfig.model_validate(
        {
            "num_hidden_layers": 2,
            "hidden_size": width,
            "num_attention_heads": width // HEAD_SIZE,
            "max_position_embeddings": 64,
            "mup_base_width": base,
            **keys,
        }
    )


def lines(
    name: Literal["adamw", "muon"],
    parametrization: str,
    *,
    widths: Sequence[int] = WIDTHS,
    seeds: Sequence[int] = SEEDS,
    **keys: Any,
) -> list[Line]:
    """All activations, of models with further `keys` in their section."""
    optimizer = OptimizerConfig(name=name, learning_rate=RATE)
    base = widths[0] if parametrization == "muP" else None
    found = [
        [sizes(model_of(width, base, **keys), optimizer, seed=seed) for seed in seeds] for width in widths
    ]

    def mean(activation: str, what: str) -> list[float]:
        return [sum(getattr(run[activation], what) for run in runs) / len(runs) for runs in found]

    return [
        Line(name, parametrization, each, mean(each, "first"), mean(each, "last"), mean(each, "change"))
        for each in found[0][0]
    ]


def sizes(model: ModelConfig, optimizer: OptimizerConfig, *, seed: int) -> dict[str, Size]:
    """Of every activation and of the loss, from steps on one batch of 8 sequences of 32 random tokens."""
    decoder = Decoder(model, VOCABULARY)
    initialize(decoder, seed)
    rows = torch.randint(0, VOCABULARY, (8, 33), generator=torch.Generator().manual_seed(seed))
    tokens, targets = rows[:, :-1], rows[:, 1:]
    updates = build_optimizer(decoder.named_parameters(), optimizer, model=model)
    before = activations(decoder, tokens, targets)
    for _ in range(STEPS):
        loss = decoder(tokens, targets) / targets.numel()
        loss.backward()
        updates.step()
        updates.zero_grad()
    after = activations(decoder, tokens, targets)
    return {
        name: Size(_mean(before[name]), _mean(after[name]), _mean(after[name] - before[name]))
        for name in before
    }


@torch.no_grad()
def activations(decoder: Decoder, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """What embedding, attentions, MLPs, last norm and head give out, and the mean loss."""
    found: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            found[name] = output

        return keep

    assert decoder.embedding is not None
    assert decoder.norm is not None
    named: dict[str, nn.Module] = {"embedding": decoder.embedding}
    for index in decoder.layers:
        for part in ("attention", "mlp"):
            named[f"{part} {index}"] = decoder.get_submodule(f"layers.{index}.{part}")
    named["last norm"] = decoder.norm
    hooks = [module.register_forward_hook(keeper(name)) for name, module in named.items()]
    found["logits"] = decoder(tokens)
    for hook in hooks:
        hook.remove()
    # As it would be with the multiplier behind it.
    found["last norm"] = found["last norm"] / carried("norm.weight", decoder.config)
    found["loss"] = F.cross_entropy(found["logits"].flatten(0, 1), targets.flatten())
    return found


def exponent(widths: Sequence[int], values: Sequence[float]) -> float:
    """The power of the width that fits the values best: the slope of a line through their logarithms."""
    x, y = [math.log(width) for width in widths], [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return products / sum((a - mean_x) ** 2 for a in x)


def figure(found: Sequence[Line]) -> str:
    """An SVG: the change of every activation against the width, a panel for each way to train."""
    panels: dict[str, list[plots.Series]] = {}
    for line in found:
        if line.activation != "loss":
            points = tuple(plots.Point(x, y) for x, y in zip(WIDTHS, line.change, strict=True))
            title = f"{_NAMES[line.optimizer]}, {line.parametrization}"
            panels.setdefault(title, []).append(plots.Series(line.activation, points))
    return plots.panels(
        [plots.Panel(title, tuple(series)) for title, series in panels.items()],
        x=plots.Axis("hidden_size", log=True, ticks=tuple((width, str(width)) for width in WIDTHS)),
        y=plots.Axis(
            "mean absolute change", log=True, ticks=tuple((10.0**i, f"{10.0**i:g}") for i in range(-2, 2))
        ),
        lines="activation",
        height=200,
    )


def tables(found: Sequence[Line]) -> dict[str, str]:
    """Those of the page, in Markdown: the powers of m in all that is multiplied, and how activations grow."""
    powers = [
        "| kind | first weights | AdamW: rate | decay | Muon: rate | decay | source |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in TABLE:
        cells = (row.first, row.adamw, row.adamw_decay, row.muon, row.muon_decay)
        powers.append(f"| {row.kind} | {' | '.join(map(_power, cells))} | {row.source} |")
    ways = list(dict.fromkeys((line.optimizer, line.parametrization) for line in found))
    heads = [f"{_NAMES[optimizer]}, {parametrization}" for optimizer, parametrization in ways]
    growth = [f"| | {' | '.join(heads)} |", "|---|" + "--:|" * len(ways)]
    for name in dict.fromkeys(line.activation for line in found):
        of = {
            (line.optimizer, line.parametrization): line.growth for line in found if line.activation == name
        }
        growth.append(f"| {name} | {' | '.join(f'{of[way]:.2f}' for way in ways)} |")
    return {"powers": "\n".join([*powers, ""]), "growth": "\n".join([*growth, ""])}


def _power(power: float | None) -> str:
    if power is None:
        return ""
    return {0: "1", 0.5: "sqrt(m)", 1: "m", -0.5: "1/sqrt(m)", -1: "1/m"}[power]


_NAMES = {"adamw": "AdamW", "muon": "Muon"}


def _mean(x: Tensor) -> float:
    return float(x.abs().mean())


def main() -> None:
    """Print how every activation's change grows, or renew the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="into docs/")
    write = parser.parse_args().write
    found = [line for name in OPTIMIZERS for way in PARAMETRIZATIONS for line in lines(name, way)]
    for line in found:
        changes = ", ".join(f"{value:.3g}" for value in line.change)
        print(
            f"{line.optimizer:5} {line.parametrization:8} {line.activation:11} {changes}: "
            f"width to the power of {line.growth:.2f}"
        )
    if write:
        FIGURE.write_text(figure(found), encoding="utf-8")
        setting = {"widths": WIDTHS, "seeds": SEEDS, "steps": STEPS, "learning_rate": RATE}
        rows = [{**asdict(line), "growth": line.growth} for line in found]
        PAGE.write_text(filled_in(PAGE, tables(found)), encoding="utf-8")
        NUMBERS.write_text(json.dumps({**setting, "lines": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
