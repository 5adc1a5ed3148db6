"""The planned layouts in the comments of the large recipes. `--write` renews them."""

import argparse
import re
from pathlib import Path

from tsumugu.planning.cluster import find_cluster
from tsumugu.planning.planner import plan
from tsumugu.planning.showing import duration
from tsumugu.planning.writing import overrides
from tsumugu.recipe import load_recipe

ROOT = Path(__file__).parents[1]
DEVICES = {
    "japanese-large-lm-1.7b": "A100-80GB",
    "japanese-large-lm-3.6b": "A100-80GB",
    "tsumugu-1.7b": "H100",
    "tsumugu-3.6b": "H100",
}
COUNTS = (8, 64, 256)
_PLACE = re.compile(r"(?<=  # Planned )[^\n]*\n(?:  #   [^\n]*\n)*")


def main() -> None:
    """Print the comments, or write them into the recipes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into recipes/")
    write = parser.parse_args().write
    for name in DEVICES:
        path = ROOT / "recipes" / f"{name}.yaml"
        if write:
            path.write_text(renewed(name, path.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            print(f"{name}: {comment(name)}")


def renewed(name: str, text: str) -> str:
    """The recipe `name` with today's comment."""
    assert _PLACE.search(text), f"recipes/{name}.yaml has no line that begins with `  # Planned `"
    return _PLACE.sub(lambda _: comment(name), text)


def comment(name: str) -> str:
    """What follows `# Planned `: one way for each number of devices, as words behind a command."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    device = DEVICES[name]
    lines = [f"(tsumugu plan recipes/{name}.yaml --cluster 8x{device}), as words behind a command:"]
    for count in COUNTS:
        best = plan(recipe, find_cluster(f"{count}x{device}")).fastest[0]
        gib = best.memory.total / 2**30
        what = f"{duration(best.hours)}, MFU {best.mfu:.0%}, {gib:.0f} GiB each"
        lines.append(f"  #   {count}x{device}, {what}:")
        lines.append(f"  #     {overrides(best.candidate)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
