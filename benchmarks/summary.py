"""The table of docs/benchmarks.md: every row of benchmarks/results/ that has a goal. `--write` renews it."""

import argparse
import re

import harness

PAGE = harness.ROOT / "docs" / "benchmarks.md"
_PLACE = re.compile(r"(?<=<!-- summary\.py begin -->\n).*?(?=<!-- summary\.py end -->)", re.S)


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    if not parser.parse_args().write:
        print(summary(), end="")
        return
    PAGE.write_text(_PLACE.sub(lambda _: summary(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def summary() -> str:
    """A Markdown table."""
    lines = ["| benchmark | what | ours | peer | ratio | goal | met |", "|---|---|---|---|---|---|---|"]
    for path in sorted(harness.RESULTS.glob("*.json")):
        for row in harness.read_result(path.stem):
            if row.get("goal") is None:
                continue
            ratio = row["ratio"]
            cells = [
                f"`{path.stem}`",
                row["name"].removeprefix(f"{path.stem}: "),
                f"{row['ours']:.4g} {row['unit']}",
                "" if row["peer"] is None else f"{row['peer']:.4g}",
                "" if ratio is None else f"{ratio:.2f}",
                f"{row['goal']:g}",
                {True: "yes", False: "**no**", None: "not conclusive"}[row["goal_met"]],
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
