"""The class of our task files: a YAML task of the harness with three additions.

- Where the data set has no split for few-shot examples at hand, they come from the evaluated split
  without the question itself. `few_shot_split` tells; the number is then not comparable.
- `dynamic_length`: a request for a text carries the gold answers under the key `longest_of`. A model
  that knows the key generates at most as many tokens as the longest of them has, in its own tokens
  (plus `longest_of_margin`): jp-stable's DYNAMIC_MAX_LENGTH. Models of the harness do not know it,
  so it is off when `lm_eval` runs the files by itself; the task's `max_gen_toks` holds then.
- Samplers of few-shot examples that jp-stable and flexeval have and the harness has not.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from lm_eval.api.samplers import ContextSampler
from lm_eval.api.task import ConfigurableTask

log = logging.getLogger(__name__)


def warn_of_split(name: str) -> None:
    """Say that a task takes its examples from where its questions are."""
    log.warning(
        "%s: there is no training split at hand; the few-shot examples come from the evaluated split, never "
        "the question itself. The score cannot stand beside published ones.",
        name,
    )


class HarnessTask(ConfigurableTask):  # type: ignore[misc]
    """What `class:` in our task files names. The harness makes it, with the file's contents."""

    dynamic_length = False

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **_: object) -> None:
        """Load the splits; the harness calls this once, before it looks at any of them."""
        self.dataset = self.config.custom_dataset(**(self.config.metadata or {}), **(dataset_kwargs or {}))
        wanted = self.fewshot_cfg.split
        if wanted is None or wanted in self.dataset:
            return
        self.fewshot_cfg.split = self.config.test_split
        if self.config.num_fewshot:
            warn_of_split(self.config.task)

    def construct_requests(self, doc: dict[str, Any], ctx: Any, **kwargs: Any) -> Any:
        """As the harness makes them; with the gold answers where their length limits the answer's."""
        made = super().construct_requests(doc, ctx, **kwargs)
        field = (self.config.metadata or {}).get("longest_of")
        if self.dynamic_length and field:
            settings = made.arguments[1]
            texts = doc[field]
            settings["longest_of"] = [texts] if isinstance(texts, str) else list(texts)
            settings["longest_of_margin"] = self.config.metadata.get("longest_of_margin", 0)
        return made


def few_shot_split(task: Any) -> str | None:
    """Name of the split that a task's few-shot examples come from; None where it takes none."""
    if not task.config.num_fewshot:
        return None
    split: str = task.fewshot_cfg.split or task.config.training_split or task.config.test_split
    return split


class ByLabel(ContextSampler):  # type: ignore[misc]
    """Examples of every label in the shares of the whole split, in random order (jp-stable, JNLI 1.3).

    Of `n` examples a label gets its share rounded down; what is left goes one by one to the label
    that has the fewest so far. Three examples of JNLI are one of each.
    """

    def sample(self, n: int, eval_doc: dict[str, Any] | None = None, **_: object) -> Sequence[dict[str, Any]]:
        groups = _grouped(self, "label")
        total = sum(map(len, groups.values()))
        counts = {label: n * len(group) // total for label, group in groups.items()}
        for _unit in range(n - sum(counts.values())):
            counts[min(counts, key=lambda label: counts[label])] += 1
        drawn: list[dict[str, Any]] = []
        for label, count in counts.items():
            # One more than needed, in case one of them is the question itself.
            found = self.rnd.sample(groups[label], min(count + (eval_doc is not None), len(groups[label])))
            drawn += [one for one in found if one != eval_doc][:count]
        self.rnd.shuffle(drawn)
        return drawn


class FirstOfSubject(ContextSampler):  # type: ignore[misc]
    """The first examples of the question's subject, without the question itself (flexeval, JMMLU)."""

    def sample(self, n: int, eval_doc: dict[str, Any] | None = None, **_: object) -> Sequence[dict[str, Any]]:
        if eval_doc is None:
            return list(self.df[:n])
        same = _grouped(self, "subject")[eval_doc["subject"]]
        return [one for one in same[: n + 1] if one != eval_doc][:n]


def _grouped(sampler: Any, key: str) -> dict[Any, list[dict[str, Any]]]:
    """The sampler's examples by a field; in the order of the split, and counted once."""
    if not hasattr(sampler, "groups"):
        examples: Iterable[dict[str, Any]] = sampler.fewshot_docs()
        sampler.groups = defaultdict(list)
        for one in examples:
            sampler.groups[one[key]].append(one)
    groups: dict[Any, list[dict[str, Any]]] = sampler.groups
    return groups
