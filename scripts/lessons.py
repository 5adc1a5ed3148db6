"""The pages of docs/lessons: what is kept of a study, and what its page shows of it.

python scripts/lessons.py keep RUN      runs/study-beta2/study.json becomes docs/lessons/results/beta2.json
python scripts/lessons.py write         plots, tables and the index, from the results
python scripts/lessons.py check         whether all of that is what the results say
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from lesson_pages import LESSONS, cost, overview
from lesson_results import ROOT, STUDIED, as_text, condensed, read_results
from marked_blocks import filled_in

from tsumugu.study.config import load_study

DOCS = ROOT / "docs" / "lessons"
NAVIGATION = ROOT / "mkdocs.yml"
STUDIES = ROOT / "recipes" / "studies"
UNWRITTEN = "TO BE WRITTEN"
"""Stands in a page until somebody has said what came out."""


def main() -> None:
    """Keep, write or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="default: docs/lessons")
    commands = parser.add_subparsers(dest="command", required=True)
    keep = commands.add_parser("keep", help="what is kept of a study")
    keep.add_argument("folder", type=Path, metavar="RUN", help="the run folder of `tsumugu study`")
    keep.add_argument("--unfinished", action="store_true", help="although trainings are missing or failed")
    keep.add_argument("--commit", help="of the checkout that trained, if it was not this one")
    commands.add_parser("write", help="plots, tables and the index")
    commands.add_parser("check", help="whether they are what the results say")
    options = parser.parse_args()
    try:
        if options.command == "keep":
            result = condensed(options.folder, unfinished=options.unfinished, commit=options.commit)
            path = options.docs / "results" / f"{result['name']}.json"
            text = as_text(result)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{path}: {len(result['trials'])} trainings, {len(text.encode()):,} bytes")
        elif options.command == "write":
            for path, text in written(options.docs).items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                print(path)
        else:
            faults = faults_of(options.docs)
            print("\n".join(faults) or "docs/lessons says what its results say")
            sys.exit(bool(faults))
    except ValueError as error:
        sys.exit(f"error: {error}")


def written(docs: Path) -> dict[Path, str]:
    """Every file that follows from the results, as it has to be.

    Raises:
        ValueError: a page is missing, or has no place for what belongs into it.
    """
    results = read_results(docs / "results", list(LESSONS))
    index = docs / "index.md"
    files = {index: filled_in(index, {"studies": overview(results)})}
    titles = {}
    for result in results:
        name = result["name"]
        if name not in LESSONS:
            raise ValueError(f"scripts/lesson_pages.py does not say what the page of {name} shows")
        lesson, page = LESSONS[name], docs / f"{name}.md"
        pictures = []
        for plot in lesson.plots:
            if drawn := plot.draw(result):
                files[docs / "images" / f"{name}{plot.suffix}.svg"] = drawn
                pictures.append(f"![{plot.caption}](images/{name}{plot.suffix}.svg)\n")
        tables = [table(result) for table in lesson.tables]
        blocks = {"cost": cost(result), "results": "\n".join([*pictures, *tables])}
        files[page] = filled_in(page, blocks)
        titles[name] = files[page].partition("\n")[0].removeprefix("# ")
    if docs.resolve() == DOCS:
        files[NAVIGATION] = navigation(NAVIGATION.read_text(encoding="utf-8"), titles)
    return files


def navigation(text: str, titles: dict[str, str]) -> str:
    """`mkdocs.yml` with the lessons that have results."""
    place = re.compile(r"(?<=  # lessons begin\n).*?(?=  # lessons end)", re.S)
    lines = [
        "  - Lessons: lessons/index.md\n",
        *(
            f"  - {json.dumps(title, ensure_ascii=False)}: lessons/{name}.md\n"
            for name, title in titles.items()
        ),
    ]
    return place.sub(lambda _: "".join(lines), text)


def faults_of(docs: Path) -> list[str]:
    """What is not as it has to be; empty if all is well."""
    faults = []
    for path, text in written(docs).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            faults.append(f"{path}: not what the results say; python scripts/lessons.py write renews it")
        elif path.suffix == ".md" and UNWRITTEN in text:
            faults.append(f"{path}: what came out is still to be written")
    results = read_results(docs / "results", list(LESSONS))
    # mup.md is of scripts/coordinate_check.py.
    pages = {path.stem for path in docs.glob("*.md")} - {"index", "mup"}
    faults += [
        f"{docs / name}.md: there are no results for it"
        for name in sorted(pages - {result["name"] for result in results})
    ]
    return faults + [fault for result in results if (fault := drift(result))]


def drift(result: dict[str, Any]) -> str:
    """Whether the study was changed since its results; empty if not."""
    path = STUDIES / f"{result['name']}.yaml"
    if not path.exists():
        return f"{path}: the study of {result['name']}.json is missing"
    study = load_study(path).model_dump(mode="json")
    changed = [key for key in STUDIED if key in result and study.get(key) != result[key]]
    return f"{path}: {', '.join(changed)} changed since the results of {result['name']}" if changed else ""


if __name__ == "__main__":
    main()
