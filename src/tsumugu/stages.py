"""The stages of a run: what each one reads, which function does its work, and on what its result depends.

The order is that of the work. `pipeline.py` runs them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsumugu.corpus.inputs import fingerprint_inputs
from tsumugu.model.config import ModelConfig, weight_files
from tsumugu.recipe import Recipe
from tsumugu.tokenizer.config import tokenizer_files
from tsumugu.tokens.pretokenized import fingerprint_ids


@dataclass(frozen=True)
class Stage:
    """One room's place in a run."""

    name: str
    reads: tuple[str, ...]
    """Earlier stages, or the part of one that the result depends on: `corpus/documents`."""
    function: str
    """`module:function`, imported when the stage runs: most commands never import torch."""
    settings: Callable[[Recipe], Any]
    """Everything of the recipe that the result depends on, as JSON."""
    publishes: tuple[str, ...] = ()
    """Files that are also copied to the top of the run folder."""
    precious: str | None = None
    """A folder of half-done work that nobody wants to lose for a changed recipe."""
    version: int = 1
    """Goes up when the same settings and inputs would give another result."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The earlier stages whose folders it is given."""
        return tuple(part.partition("/")[0] for part in self.reads)


def _dump(*sections: Any) -> list[Any]:
    return [section.model_dump(mode="json") for section in sections]


def _version_of(path: Path) -> tuple[int, int] | None:
    """Size and time of a file that the recipe names; None if there is none, which the stage will say."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _model(config: ModelConfig) -> list[Any]:
    """The model's settings, and which weights it begins with."""
    if config.weights is None:
        return [config.result_settings()]
    return [config.result_settings(), [_version_of(path) for path in weight_files(Path(config.weights))]]


# A stage depends on what its function reads, so that a new learning rate keeps the corpus.
# These are the stages of every run; `stages_of` has those of a recipe.
STAGES: tuple[Stage, ...] = (
    Stage(
        name="corpus",
        reads=(),
        function="tsumugu.corpus.stage:run",
        settings=lambda r: [
            r.corpus.result_settings(),
            *_dump(*r.corpus.effective_rules),
            r.corpus.effective_transforms,
            fingerprint_inputs(r.corpus.inputs),
            [_version_of(Path(path)) for path in r.corpus.other_files],
        ],
        version=2,
    ),
    Stage(
        name="tokenizer",
        reads=("corpus/documents",),
        function="tsumugu.tokenizer.stage:run",
        settings=lambda r: [
            *_dump(r.tokenizer),
            r.tokens.validation_fraction,
            r.seed,
            [_version_of(path) for path in r.tokenizer.other_files],
        ],
    ),
    Stage(
        name="tokens",
        reads=("corpus/documents", "tokenizer"),
        function="tsumugu.tokens.stage:run",
        settings=lambda r: [
            *_dump(r.tokens),
            [(entry.source, entry.license) for entry in r.corpus.inputs],
            fingerprint_ids(r.tokens.pretokenized),
            r.seed,
        ],
        version=3,
    ),
    Stage(
        name="pretrain",
        reads=("tokenizer", "tokens"),
        function="tsumugu.training.stage:run",
        settings=lambda r: [*_model(r.model), *_dump(r.data), r.pretrain.result_settings(), r.seed],
        precious="checkpoints",
        version=3,
    ),
    Stage(
        name="evaluate",
        reads=("corpus/documents", "tokenizer", "tokens", "pretrain"),
        function="tsumugu.evaluation.stage:run",
        settings=lambda r: _dump(r.evaluate),
        version=2,
    ),
    Stage(
        name="release",
        reads=("corpus", "tokenizer", "tokens", "pretrain", "evaluate"),
        function="tsumugu.release.stage:run",
        settings=lambda r: [
            r.name,
            *_dump(r.release),
            r.release.license_file and _version_of(Path(r.release.license_file)),
        ],
        version=2,
    ),
    Stage(
        name="report",
        reads=("corpus", "tokenizer", "tokens", "pretrain", "evaluate", "release"),
        function="tsumugu.report.stage:run",
        settings=lambda r: [
            r.name,
            r.seed,
            *_dump(r.report, r.corpus, r.pretrain),
            None if r.plan is None else [*_dump(r.plan, r.model), _version_of(Path(r.plan.cluster))],
            [_version_of(file) for path in r.report.tokenizers for file in tokenizer_files(Path(path))],
        ],
        publishes=("report.html",),
    ),
)


def _tune_settings(r: Recipe) -> Any:
    # Reading files in the way of the corpus room is work for a recipe that asks for it.
    from tsumugu.tuning.reading import fingerprint_records

    assert r.tune is not None
    preferences = r.tune.preference.data if r.tune.preference else ()
    decontamination = r.tune.decontamination or r.corpus.decontamination
    return [
        r.name,
        r.seed,
        r.pretrain.sequence_length,
        r.tune.result_settings(),
        *_dump(r.evaluate, r.release, decontamination),
        fingerprint_records([*r.tune.data, *preferences]),
        [_version_of(Path(one.path)) for one in decontamination.evaluation],
    ]


TUNE = Stage(
    name="tune",
    reads=("tokenizer", "tokens", "evaluate", "release"),
    function="tsumugu.tuning.stage:run",
    settings=_tune_settings,
)
"""The stage of recipes that have its section."""


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a run of this recipe, in their order."""
    if recipe.tune is None:
        return STAGES
    *others, report = STAGES
    return (*others, TUNE, replace(report, reads=(*report.reads, TUNE.name)))
