"""The pages of docs/lessons are what their results say, and the results what the studies say."""

import json
import re
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import lesson_pages
import lesson_results
import lesson_tables
import lessons
import plots
import pytest

from tsumugu.study.config import load_study

_RATE, _BETA2 = "pretrain.optimizer.learning_rate", "pretrain.optimizer.beta2"
_AXES: dict[str, dict[str, list[str]]] = {
    "beta2": {_BETA2: ["0.999", "0.9"], _RATE: ["0.003", "0.012"], "warm-up": ["none", "40 steps"]},
    "learning-rate": {
        "parametrization": ["standard", "muP"],
        "width": ["64", "256"],
        _RATE: ["0.001", "0.004"],
    },
    "schedules": {"pretrain.schedule.name": ["cosine", "wsd"], "pretrain.steps": ["100", "200", "400"]},
    "initialization": {
        "first weights": ["LINE's", "GPT-2's"],
        "shape": ["3 layers of 192", "12 layers of 96"],
    },
    "data": {"duplicates": ["stay", "go"]},
    "fine-tuning": {"tune.learning_rate": ["0.0001", "0.001"], "tune.epochs": ["1", "5"]},
}


def test_the_lessons_say_what_their_results_say() -> None:
    assert lessons.faults_of(lessons.DOCS) == [], "python scripts/lessons.py write renews docs/lessons"


@pytest.mark.parametrize("name", list(lesson_pages.LESSONS))
def test_plots_and_tables_follow_from_results_alone(name: str, tmp_path: Path) -> None:
    result = _result(name)
    result["trials"][0]["spikes"] = 1
    docs = _docs(tmp_path, result)
    files = lessons.written(docs)
    pictures = {path: text for path, text in files.items() if path.suffix == ".svg"}
    assert len(pictures) == len(lesson_pages.LESSONS[name].plots)
    for path, text in pictures.items():
        ElementTree.fromstring(text)
        assert f"](images/{path.name})" in files[docs / f"{name}.md"]
        assert "prefers-color-scheme:dark" in text
    assert files == lessons.written(docs)
    assert f"[{name}]({name}.md)" in files[docs / "index.md"]


def test_other_results_are_told(tmp_path: Path) -> None:
    result = _result("beta2")
    docs = _docs(tmp_path, result)
    _write(docs)
    own = f"{docs}/"
    assert [fault for fault in lessons.faults_of(docs) if fault.startswith(own)] == []

    result["trials"][0]["bits_per_byte"] += 0.1
    (docs / "results" / "beta2.json").write_text(lesson_results.as_text(result), encoding="utf-8")
    told = {Path(fault.partition(":")[0]).name for fault in lessons.faults_of(docs) if fault.startswith(own)}
    assert told == {"beta2.md", "beta2.svg"}


def test_a_page_says_what_came_out_and_has_results(tmp_path: Path) -> None:
    docs = _docs(tmp_path, _result("beta2"))
    page = docs / "beta2.md"
    page.write_text(page.read_text(encoding="utf-8") + lessons.UNWRITTEN, encoding="utf-8")
    (docs / "data.md").write_text("# 何もない\n", encoding="utf-8")
    _write(docs)
    faults = "\n".join(lessons.faults_of(docs))
    assert f"{page}: what came out is still to be written" in faults
    assert f"{docs / 'data.md'}: there are no results for it" in faults


def test_a_missing_page_and_a_missing_place_are_named(tmp_path: Path) -> None:
    docs = _docs(tmp_path, _result("beta2"))
    (docs / "beta2.md").write_text("# beta2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no place for cost"):
        lessons.written(docs)
    (docs / "beta2.md").unlink()
    with pytest.raises(ValueError, match=r"beta2\.md is missing"):
        lessons.written(docs)


def test_a_study_of_other_axes_is_refused_by_their_names(tmp_path: Path) -> None:
    result = _result("beta2", axes={"model.hidden_size": ["64"]})
    with pytest.raises(ValueError, match="the study beta2 has no axis pretrain.optimizer.beta2"):
        lessons.written(_docs(tmp_path, result))


def test_a_study_that_changed_since_its_results_is_told() -> None:
    study = load_study(lessons.STUDIES / "beta2.yaml").model_dump(mode="json")
    result = {"name": "beta2", **{key: study[key] for key in lesson_results.STUDIED if key in study}}
    assert lessons.drift(result) == ""
    assert "seeds changed" in lessons.drift({**result, "seeds": [7]})
    assert "is missing" in lessons.drift({**result, "name": "nothing"})


def test_the_navigation_has_the_lessons_with_results() -> None:
    text = lessons.NAVIGATION.read_text(encoding="utf-8")
    renewed = lessons.navigation(text, {"beta2": 'Spikes: "beta2"'})
    assert '  - "Spikes: \\"beta2\\"": lessons/beta2.md\n  # lessons end\n' in renewed
    assert lessons.navigation(renewed, {}) == lessons.navigation(text, {})


def test_what_is_kept_of_a_study(tmp_path: Path) -> None:
    _run_folder(tmp_path, statuses=["done", "diverged"])
    kept = lesson_results.condensed(tmp_path)
    text = lesson_results.as_text(kept)
    assert json.loads(text) == kept
    assert len([line for line in text.splitlines() if '"seed"' in line]) == 2
    assert kept["name"] == "beta2"
    assert (kept["hours"], kept["flops"]) == (0.5, 1.235e12)
    first = kept["trials"][0]
    assert first["setting"] == ["0.999"]
    assert first["bits_per_byte"] == 1.23457
    assert first["curve"] == {"steps": [10, 20], "tokens": [100, 200], "bits_per_byte": [1.5, 1.23457]}
    assert first["measures"] == {"answer_loss": 4.0, "bits_per_byte_before": 1.0, "forgetting": 0.23457}
    assert first["parameters"] == 2121408
    assert kept["software"]["torch"] == "2.13.0"


def test_a_study_that_is_not_done_is_kept_only_if_told(tmp_path: Path) -> None:
    _run_folder(tmp_path, statuses=["done", "missing"])
    with pytest.raises(ValueError, match="1 of 2 trainings of study-beta2 have not come to their end"):
        lesson_results.condensed(tmp_path)
    assert len(lesson_results.condensed(tmp_path, unfinished=True)["trials"]) == 2
    with pytest.raises(ValueError, match=r"has no study\.json"):
        lesson_results.condensed(tmp_path / "nowhere")


def test_results_stay_small() -> None:
    result = _result("beta2")
    result["trials"][0]["curve"]["bits_per_byte"] = [1.23456] * 4000
    with pytest.raises(ValueError, match="30,000 are allowed"):
        lesson_results.as_text(result)


def test_a_cell_has_the_mean_its_interval_divergences_and_spikes() -> None:
    result = _result("beta2", axes={_BETA2: ["0.999", "0.9"]}, seeds=(0, 1))
    for trial, value in zip(result["trials"], (1.5, 1.7, 1.4, 9.0), strict=True):
        trial["bits_per_byte"] = value
    result["trials"][0]["spikes"] = 1
    result["trials"][3]["status"] = "diverged"
    table = lesson_tables.grid(_BETA2)(result)
    # Student's t with one degree of freedom: 12.706 x 0.1414 / sqrt(2).
    assert "| **1.6000 ± 1.2706**, 0.5 spikes | 1.4000, 1 of 2 diverged |" in table


def test_what_diverged_counts_in_spikes_alone() -> None:
    result = _result("data", axes={"duplicates": ["stay"]}, seeds=(0, 1, 2))
    for trial, status in zip(result["trials"], ("done", "diverged", "pruned"), strict=True):
        trial.update(status=status, spikes=4)
    (setting,) = lesson_results.settings_of(result)
    assert list(setting.values("bits_per_byte")) == [0]
    assert list(setting.values("judge_bits_per_byte")) == [0]
    assert list(setting.values("spikes")) == [0, 1]


def test_the_best_rate_lies_where_the_parabola_has_its_least() -> None:
    def loss(exponent: int) -> tuple[float, float]:
        return 2.0**exponent, 1.5 + 0.1 * (exponent + 8.3) ** 2

    found = [loss(exponent) for exponent in (-11, -10, -9, -8, -7)]
    assert lesson_tables.least_between(found) == pytest.approx(2**-8.3)
    assert lesson_tables.least_between(found[:3]) is None
    assert lesson_tables.least_between([]) is None


def test_stopping_early_is_compared_seed_by_seed() -> None:
    axes = {"pretrain.schedule.name": ["cosine"], "pretrain.steps": ["100", "200"]}
    result = _result("schedules", axes=axes, seeds=(0, 1))
    short, longest = result["trials"][:2], result["trials"][2:]
    for seed, ended, stopped in ((0, 2.0, 2.1), (1, 1.9, 2.0)):
        short[seed]["bits_per_byte"] = ended
        longest[seed]["curve"]["bits_per_byte"][1] = stopped
    table = lesson_tables.anytime(result)
    assert re.search(r"\| cosine \| 100 steps \| 2\.0500 \| 1\.9500 \| \+0\.1000( ± 0\.0000)? \|", table)


def test_a_page_says_what_is_not_done(tmp_path: Path) -> None:
    result = _result("beta2")
    assert "have not come to their end" not in lesson_pages.cost(result)
    result["trials"][0]["status"] = "unfinished"
    assert "**1 of them have not come to their end**" in lesson_pages.cost(result)


def test_no_spikes_are_said_and_not_drawn(tmp_path: Path) -> None:
    docs = _docs(tmp_path, _result("beta2"))
    files = lessons.written(docs)
    assert docs / "images" / "beta2-spikes.svg" not in files
    assert "No training had a spike." in files[docs / "beta2.md"]


def test_what_diverged_is_marked_at_the_upper_edge() -> None:
    def picture(*points: plots.Point) -> str:
        panel = plots.Panel("", (plots.Series("", points),))
        return plots.panels([panel], x=plots.Axis("x", log=True), y=plots.Axis("y", most=2.0))

    calm = picture(plots.Point(1, 1.0), plots.Point(10, 1.5))
    assert 'class="off' not in calm
    assert 'class="off' in picture(plots.Point(1, 1.0), plots.Point(10, 9.0))
    assert 'class="off' in picture(plots.Point(1, 1.0), plots.Point(10, None, off=True))


def test_a_logarithmic_axis_places_equal_factors_at_equal_distances() -> None:
    series = plots.Series("", tuple(plots.Point(x, 1.0 + x) for x in (1, 10, 100)))
    picture = plots.panels([plots.Panel("", (series,))], x=plots.Axis("x", log=True), y=plots.Axis("y"))
    points = re.search(r'<polyline class="c0" points="([^"]+)"', picture)
    assert points
    first, second, third = (float(point.partition(",")[0]) for point in points[1].split())
    assert third - second == pytest.approx(second - first, abs=0.2)


def test_labels_are_escaped_and_nothing_is_no_picture() -> None:
    row = plots.Dots("a < b", (1.0, 2.0))
    ElementTree.fromstring(plots.rows([("x & y", [row])], x=plots.Axis("<z>")))
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.rows([("", [plots.Dots("a", ())])], x=plots.Axis("x"))
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.panels([plots.Panel("", ())], x=plots.Axis("x"), y=plots.Axis("y"))


def _result(
    name: str, *, axes: dict[str, list[str]] | None = None, seeds: tuple[int, ...] = (0, 1, 2)
) -> dict[str, Any]:
    axes = axes or _AXES[name]
    trials = []
    for number, (labels, seed) in enumerate(product(product(*axes.values()), seeds)):
        steps = int(dict(zip(axes, labels, strict=True)).get("pretrain.steps", 400))
        curve = [2.0 - 0.1 * check - 0.001 * number for check in range(steps // 50)]
        measures = {
            "answer_loss": 5.0 - 0.01 * number,
            "answer_loss_before": 6.0,
            "forgetting": 0.01 * number,
        }
        trials.append(
            {
                "setting": list(labels),
                "seed": seed,
                "status": "done",
                "bits_per_byte": curve[-1],
                "spikes": 0,
                "seconds": 1.0,
                "tokens": steps * 1024,
                "parameters": 2121408,
                "measures": {
                    **measures,
                    "judge_bits_per_byte": 1.9,
                    "repeated_5gram_share": 0.1,
                    "epochs": 1.0,
                },
                "curve": {
                    "steps": [50 * (one + 1) for one in range(len(curve))],
                    "tokens": [51200 * (one + 1) for one in range(len(curve))],
                    "bits_per_byte": curve,
                },
            }
        )
    return {
        "name": name,
        "question": "小さい beta2 は?",
        "base": "../demo.yaml",
        "keys": {},
        "axes": axes,
        "seeds": list(seeds),
        "threads": 1,
        "search": "grid",
        "software": {"torch": "2.13.0", "commit": "0123abc"},
        "machine": {"cpu": "a CPU", "system": "Linux"},
        "hours": 0.5,
        "flops": 1.2e12,
        "trials": trials,
    }


def _docs(folder: Path, result: dict[str, Any]) -> Path:
    """A folder of lessons with one page."""
    docs = folder / "lessons"
    (docs / "results").mkdir(parents=True)
    (docs / "results" / f"{result['name']}.json").write_text(json.dumps(result), encoding="utf-8")
    (docs / "index.md").write_text("# x\n<!-- studies begin -->\n<!-- studies end -->\n", encoding="utf-8")
    places = "".join(f"<!-- {name} begin -->\n<!-- {name} end -->\n" for name in ("cost", "results"))
    (docs / f"{result['name']}.md").write_text(f"# 題\n{places}", encoding="utf-8")
    return docs


def _write(docs: Path) -> None:
    for path, text in lessons.written(docs).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _run_folder(folder: Path, *, statuses: list[str]) -> None:
    """What `tsumugu study` leaves, as far as it is read."""
    study = load_study(lessons.STUDIES / "beta2.yaml").model_dump(mode="json")
    study["axes"] = {_BETA2: [0.999, 0.9]}
    trials = [
        {
            "setting": {_BETA2: label},
            "seed": 0,
            "folder": f"trials/{label}",
            "status": status,
            "bits_per_byte": 1.23456789,
            "spikes": 0,
            "seconds": 900.04,
            "tokens": 200,
            "measures": {"answer_loss": 4.0, "bits_per_byte_before": 1.0},
            "curve": {"steps": [10, 20], "tokens": [100, 200], "bits_per_byte": [1.5, 1.23456789]},
        }
        for label, status in zip(("0.999", "0.9"), statuses, strict=True)
    ]
    found = {"study": study, "trials": trials, "seconds": 1800.0, "flops": 1.23456e12}
    (folder / "study.json").write_text(json.dumps(found), encoding="utf-8")
    manifest = folder / "trials" / "0.999" / "pretrain" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(
        json.dumps({"counts": {"parameters": 2121408}, "versions": {"torch": "2.13.0"}}), encoding="utf-8"
    )
