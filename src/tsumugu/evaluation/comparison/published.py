"""Scores that others published for japanese-large-lm, rinna and OpenCALM, and what they may stand beside.

Two sources, transcribed and never computed here: the table of LINE's blog, and the result files of
Stability AI's fork of lm-evaluation-harness. A published number may stand beside one of ours only if
the task, its version, its prompt, the metric and the number of examples agree; `fit` says what does
not. All scores are fractions, perplexities are as printed.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

BLOG, JP_STABLE = "blog", "jp-stable"
DEFAULT = "default"
_UNNAMED = ("", "0.0")
"""Versions of a prompt that jp-stable's result files do not name."""
_PUBLISHED_FROM = "train"
"""Where jp-stable draws its examples from."""
_SAME_QUESTIONS = 0.02
"""Releases of a data set differ by this much, as MARC-ja's do."""

SOURCES = {
    BLOG: "LINE Engineering, 36億パラメータの日本語言語モデルを公開しました (2023-08-14), "
    "https://engineering.linecorp.com/ja/blog/3.6-billion-parameter-japanese-language-model",
    JP_STABLE: "Stability-AI/lm-evaluation-harness, branch jp-stable (effdbea), "
    "models/*/result.json and result.jsquad-1.2.json, "
    "https://github.com/Stability-AI/lm-evaluation-harness/tree/jp-stable/models",
}

CAVEATS = (
    "C4 perplexity (blog) is per token, of models with different vocabularies, and such numbers do not "
    "compare; how they were normalised, and which part of C4 was held out, is not stated. Compare "
    "bits per byte.",
    "AI王 (blog) is zero-shot on the development data; prompt and matching rule are not stated. It is not "
    "JAQKET v2 of jp-stable, which gives the model passages to read.",
    "JSQuAD (blog) is called accuracy, with 3 examples; metric and task version are not stated. The numbers "
    "are like those of exact match in jp-stable, whose task version 1.2 is younger than the blog.",
    "JAQKET v2: version 0.2 for japanese-large-lm and rinna/japanese-gpt-neox-small, 0.1 for the others. "
    "That column, and every average over it, does not compare.",
    "JCommonsenseQA has five answers: chance is 20 %, and most base models, at 21 to 35 %, are close to it.",
    "JNLI and MARC-ja: most base models, both of japanese-large-lm among them, are below what always "
    "answering with the most frequent class gives. These columns hardly tell base models apart.",
    "MARC-ja: by their standard errors, some rows are of 5,654 reviews and others of about 5,730.",
    "OpenCALM 1b, large and medium: JCommonsenseQA with 2 examples and JSQuAD with 3; the others 3 and 2.",
    "Prompts differ: 0.2 for base models, 0.4 and 0.5 (conversations) for tuned ones.",
    "Standard errors of accuracy and exact match are computed from the number of questions; for F1 and "
    "ROUGE-2 none are published.",
    "Scores of pfnet's Japanese financial harness are left out: two of the rows that it prints for "
    "japanese-large-lm 3.6B, the base and the tuned model, are equal to the last digit.",
)


@dataclass(frozen=True)
class Column:
    """One metric of one task, as a source calls it, and the task of ours that asks the same."""

    title: str
    metric: str
    ours: tuple[str, ...]
    """Our tasks' names without the version of the prompt; none if none of ours asks that."""
    questions: int | None = None
    """How many were asked, where that is known."""

    @property
    def right_or_wrong(self) -> bool:
        """Whether each question is either, which gives the standard error."""
        return self.metric in ("acc", "exact_match")


_JSQUAD = ("jp_stable_jsquad", "jp_stable_jsquad_title")
"""Task versions 1.1 and 1.2."""

COLUMNS: Mapping[str, Column] = {
    "jcommonsenseqa": Column("JCommonsenseQA", "acc", ("jp_stable_jcommonsenseqa",), 1119),
    "jnli": Column("JNLI", "acc", ("jp_stable_jnli",), 2434),
    "marc_ja": Column("MARC-ja", "acc", ("jp_stable_marc_ja",), 5654),
    "jsquad_em": Column("JSQuAD EM", "exact_match", _JSQUAD, 4442),
    "jsquad_f1": Column("JSQuAD F1", "f1", _JSQUAD, 4442),
    "jaqket_em": Column("JAQKET v2 EM", "exact_match", ("jp_stable_jaqket",), 582),
    "jaqket_f1": Column("JAQKET v2 F1", "f1", ("jp_stable_jaqket",), 582),
    "xlsum": Column("XLSum ROUGE-2", "rouge2", ("jp_stable_xlsum",)),
    "xwinograd": Column("XWinograd", "acc", ("jp_stable_xwinograd",), 959),
    "mgsm": Column("MGSM", "acc", ("jp_stable_mgsm",), 250),
    "blog_c4": Column("C4 perplexity per token", "perplexity", ()),
    "blog_aio": Column("AI王 accuracy", "exact_match", ("aio",)),
    "blog_jsquad": Column("JSQuAD accuracy", "exact_match", _JSQUAD, 4442),
}
"""The one place to change when our tasks get other names: which of them a published column stands beside."""


@dataclass(frozen=True)
class Published:
    """One number of one source."""

    model: str
    source: str
    column: str
    value: float
    stderr: float | None
    version: str | None
    """Of the task; None where the source does not say."""
    prompt: str | None
    """Its version; `DEFAULT` where the task has one prompt, or this is the one without a name."""
    num_fewshot: int | None

    def describe(self) -> str:
        """What was asked, in words."""
        parts = [
            f"version {self.version}" if self.version else "version not stated",
            f"prompt {self.prompt}" if self.prompt else "prompt not stated",
            f"{self.num_fewshot}-shot" if self.num_fewshot is not None else "examples not stated",
        ]
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """All of it, with the titles of column and source."""
        return {**asdict(self), "title": COLUMNS[self.column].title, "from": SOURCES[self.source]}


@dataclass(frozen=True)
class Fit:
    """A published number, and in what it differs from a task of ours."""

    published: Published
    differs: tuple[str, ...]
    """Nothing: the two compare."""


def fit(
    *,
    task: str,
    metric: str,
    version: str | None,
    num_fewshot: int,
    few_shot_from: str | None = None,
    questions: int | None = None,
) -> dict[tuple[str, str], Fit]:
    """What may stand in the column of a task of ours, by source and model.

    Of several numbers for one model the one that differs in the least is taken.

    Args:
        task: our name, with the version of the prompt at its end, as in `jp_stable_jsquad_0.2`.
        metric: the one that the column shows.
        version: of our task.
        num_fewshot: examples in our prompt.
        few_shot_from: the part of the data that they are from, if there are some.
        questions: how many were asked.
    """
    name, prompt = _split(task)
    found: dict[tuple[str, str], Fit] = {}
    for one in published():
        column = COLUMNS[one.column]
        if name not in column.ours or column.metric != metric:
            continue
        differs = _differences(one, version, prompt, num_fewshot)
        if num_fewshot and few_shot_from not in (None, _PUBLISHED_FROM):
            differs += (f"our examples from {few_shot_from}",)
        asked = column.questions
        if questions and asked and abs(questions - asked) > _SAME_QUESTIONS * asked:
            differs += (f"ours are {questions:,} questions of {asked:,}",)
        fitting = Fit(one, differs)
        key = (one.source, one.model)
        if key not in found or len(fitting.differs) < len(found[key].differs):
            found[key] = fitting
    return found


def _split(task: str) -> tuple[str, str]:
    """A task's name and the version of its prompt."""
    names = {name for column in COLUMNS.values() for name in column.ours}
    for name in sorted(names, key=len, reverse=True):
        rest = task.removeprefix(name)
        if not rest or (rest != task and rest.startswith("_")):
            return name, DEFAULT if rest[1:] in _UNNAMED else rest[1:]
    return task, DEFAULT


def _differences(
    one: Published, version: str | None, prompt: str, num_fewshot: int | None
) -> tuple[str, ...]:
    found = []
    if one.version is None or one.version != version:
        found.append(f"version {one.version or 'not stated'}")
    if one.prompt != prompt:
        found.append(f"prompt {one.prompt or 'not stated'}")
    if one.num_fewshot != num_fewshot:
        found.append("examples not stated" if one.num_fewshot is None else f"{one.num_fewshot}-shot")
    return tuple(found)


@lru_cache(maxsize=1)
def published() -> tuple[Published, ...]:
    """Every number, in the order of the sources."""
    found = []
    for line in _BLOG.strip().splitlines():
        model, c4, aio, jsquad = line.split()
        for column, text, scale, examples in (
            ("blog_c4", c4, 1.0, None),
            ("blog_aio", aio, 100.0, 0),
            ("blog_jsquad", jsquad, 100.0, 3),
        ):
            found.append(Published(model, BLOG, column, float(text) / scale, None, None, None, examples))
    for line in _JP_STABLE.strip().splitlines():
        found += _jp_stable_row(line.split())
    return tuple(found)


def _jp_stable_row(cells: list[str]) -> list[Published]:
    model, prompt, few, few_jsquad, few_jsquad_2, jaqket = cells[:6]
    columns = (
        ("jcommonsenseqa", "1.1", few), ("jnli", "1.1", "3"), ("marc_ja", "1.1", "3"),
        ("jsquad_em", "1.1", few_jsquad), ("jsquad_f1", "1.1", few_jsquad),
        ("jsquad_em", "1.2", few_jsquad_2), ("jsquad_f1", "1.2", few_jsquad_2),
        ("jaqket_em", jaqket, "1"), ("jaqket_f1", jaqket, "1"),
        ("xlsum", "1.0", "1"), ("xwinograd", "1.0", "0"), ("mgsm", "1.0", "5"),
    )  # fmt: skip
    found = []
    for (column, version, examples), text in zip(columns, cells[6:], strict=True):
        if text == "-":
            continue
        value = float(text) / 100
        questions = COLUMNS[column].questions if COLUMNS[column].right_or_wrong else None
        asked = prompt
        if column == "xwinograd" or (column in ("xlsum", "mgsm") and prompt == "0.2"):
            asked = DEFAULT
        # As lm-evaluation-harness computes it: the sample's deviation over the root of its size.
        stderr = math.sqrt(value * (1 - value) / (questions - 1)) if questions else None
        found.append(Published(model, JP_STABLE, column, value, stderr, version, asked, int(examples)))
    return found


# C4 perplexity, AI王 accuracy, JSQuAD accuracy.
_BLOG = """
line-corporation/japanese-large-lm-1.7b  8.57  32.2  57.50
line-corporation/japanese-large-lm-3.6b  7.50  48.5  63.85
rinna/japanese-gpt-neox-3.6b             8.18  48.6  50.09
rinna/bilingual-gpt-neox-4b              8.83  43.0  52.72
cyberagent/open-calm-7b                 11.87  35.4  48.13
"""

# Prompt, examples of JCommonsenseQA, JSQuAD 1.1 and 1.2, version of JAQKET; then JCommonsenseQA, JNLI,
# MARC-ja, JSQuAD 1.1 EM and F1, JSQuAD 1.2 EM and F1, JAQKET EM and F1, XLSum, XWinograd, MGSM.
_JP_STABLE = """
line-corporation/japanese-large-lm-1.7b 0.2 3 2 - 0.2 30.83 35.95 74.51 56.55 69.47 - - 52.06 60.43 8.41 66.11 0.00
line-corporation/japanese-large-lm-3.6b 0.2 3 2 - 0.2 24.04 29.95 79.40 62.27 74.52 - - 67.18 74.30 8.61 70.28 2.80
line-corporation/japanese-large-lm-1.7b-instruction-sft 0.5 3 2 - 0.2 22.43 34.35 80.37 30.98 48.12 - - 25.26 40.58 1.04 63.30 1.60
line-corporation/japanese-large-lm-3.6b-instruction-sft 0.5 3 2 - 0.2 33.60 42.56 55.09 44.37 59.52 - - 39.86 51.98 6.58 64.65 2.40
rinna/japanese-gpt-neox-small 0.2 3 2 - 0.2 34.23 30.12 83.36 5.81 19.59 - - 3.18 15.32 3.85 57.25 1.60
rinna/japanese-gpt-1b 0.2 3 2 2 0.1 34.76 37.67 87.86 26.18 44.68 30.19 47.12 37.03 57.99 5.34 64.55 2.00
rinna/japanese-gpt-neox-3.6b 0.2 3 2 2 0.1 31.64 34.43 74.82 47.91 58.80 49.01 59.80 68.38 72.43 5.16 70.80 1.20
rinna/japanese-gpt-neox-3.6b-instruction-sft 0.4 3 2 2 0.1 38.07 44.58 90.62 47.41 61.67 49.35 63.34 53.69 57.76 4.74 69.45 2.00
rinna/japanese-gpt-neox-3.6b-instruction-sft-v2 0.4 3 2 2 0.1 40.57 53.45 89.88 44.91 59.38 47.55 61.63 52.84 57.11 6.14 71.22 2.80
rinna/japanese-gpt-neox-3.6b-instruction-ppo 0.4 3 2 2 0.1 44.06 54.19 89.61 51.62 63.68 52.63 64.39 50.95 55.79 6.63 69.13 4.40
rinna/bilingual-gpt-neox-4b 0.2 3 2 2 0.1 20.82 55.22 59.55 50.79 61.68 51.33 61.94 59.45 65.22 5.55 66.42 2.40
rinna/bilingual-gpt-neox-4b-instruction-sft 0.5 3 2 2 0.1 49.51 47.08 95.28 55.99 70.04 58.67 72.39 61.17 65.03 5.51 64.65 2.80
rinna/bilingual-gpt-neox-4b-instruction-ppo 0.5 3 2 2 0.1 48.79 48.23 96.09 54.16 68.90 55.94 70.64 57.65 61.61 5.03 65.07 2.40
cyberagent/open-calm-medium 0.2 2 3 3 - 39.50 42.32 83.57 28.73 39.80 29.85 40.50 - - 2.58 59.65 -
cyberagent/open-calm-large 0.2 2 3 3 - 29.94 40.84 79.12 37.24 48.50 40.50 51.32 - - 1.99 61.52 -
cyberagent/open-calm-1b 0.2 2 3 3 - 26.90 33.57 77.92 37.12 47.17 39.53 49.49 - - 2.29 60.90 -
cyberagent/open-calm-3b 0.2 3 2 2 0.1 27.79 40.35 86.21 40.45 52.74 44.53 56.02 46.91 51.62 1.95 63.61 1.60
cyberagent/open-calm-7b 0.2 3 2 2 0.1 24.22 37.63 74.12 45.79 59.03 48.11 60.91 60.74 64.90 2.04 65.07 0.80
"""  # noqa: E501
