"""The recipe: one YAML file that describes a whole run.

`load_recipe` reads the file, lays `key=value` overrides over it, and checks everything at once:
types, ranges, unknown keys, and the relations between sections that no single section can see.
Whatever is wrong is said in one message that names the file, the key, what was found and what
is allowed. The sections themselves live beside the code that they configure.
"""

import copy
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from tsumugu.corpus.config import CorpusConfig
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.config import EvaluateConfig
from tsumugu.model.config import ModelConfig
from tsumugu.planning.config import PlanConfig
from tsumugu.release.config import ReleaseConfig
from tsumugu.report.config import ReportConfig
from tsumugu.section import Section
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokens.config import DataConfig, TokensConfig
from tsumugu.training.config import PretrainConfig
from tsumugu.tuning.config import TuneConfig

# Pydantic's words for an error whose "found" is the surrounding section and says nothing.
_FOUND_IS_NOISE = {"missing", "extra_forbidden"}


class Recipe(Section):
    """Everything a run does."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """The run's name; its folder is `runs/NAME` unless `--run` says otherwise."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """The seed of everything random: the validation split, the data order, the weights; `pretrain.seed` gives
    the last two one of their own."""
    corpus: CorpusConfig
    tokenizer: TokenizerConfig
    tokens: TokensConfig = TokensConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig
    plan: PlanConfig | None = None
    """The cluster that `tsumugu plan` and the report plan for; null for none."""
    pretrain: PretrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    release: ReleaseConfig = ReleaseConfig()
    tune: TuneConfig | None = None
    """Instruction tuning of the released model; null for none."""
    report: ReportConfig = ReportConfig()

    @property
    def training_seed(self) -> int:
        """Of first weights, order of the data and dropout."""
        return self.seed if self.pretrain.seed is None else self.pretrain.seed

    @property
    def tuning_seed(self) -> int:
        """Of the order of tuning."""
        return self.seed if self.tune is None or self.tune.seed is None else self.tune.seed

    @model_validator(mode="after")
    def _sections_fit_together(self) -> "Recipe":
        longest = self.model.max_position_embeddings
        if self.pretrain.sequence_length > longest:
            raise ValueError(
                f"pretrain.sequence_length is {self.pretrain.sequence_length}, but the model has "
                f"only model.max_position_embeddings = {longest} positions"
            )
        half = self.pretrain.sequence_length // 2
        if self.evaluate.stride is not None and self.evaluate.stride > half:
            raise ValueError(
                f"evaluate.stride is {self.evaluate.stride}; it may be half of pretrain.sequence_length at "
                f"most ({half}), so that every token is predicted from at least half a window"
            )
        if self.tune is not None and self.tune.max_length is not None and self.tune.max_length > longest:
            raise ValueError(
                f"tune.max_length is {self.tune.max_length}, but the model has only "
                f"model.max_position_embeddings = {longest} positions"
            )
        sources = [entry.source for entry in self.corpus.inputs]
        sources += [entry.source for entry in self.tokens.pretokenized]
        if len(set(sources)) < len(sources):
            raise ValueError(
                "corpus.inputs and tokens.pretokenized: two of them have the same source; their documents "
                "could not be told apart"
            )
        for name in self.data.mixture or {}:
            if name not in sources:
                raise ValueError(
                    f"data.mixture names the source {name!r}; the sources of corpus.inputs and "
                    f"tokens.pretokenized are {', '.join(sources)}"
                )
        return self


class _Loader(yaml.SafeLoader):
    """Safe YAML in which `1e-3` is a number, a date is a string, and a key stands once.

    YAML 1.1, which PyYAML implements, reads `1e-3` as a string and `2023-08-14` as a date;
    and it lets the second of two equal keys win without a word.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` brings in the keys of other mappings, of which those that stand here are changes.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key[1]!r} stands here twice", node.start_mark
                )
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF|nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def load_recipe(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    keys: Mapping[str, Any] | None = None,
    keys_from: str = "command line",
) -> Recipe:
    """Read the recipe at `path` with `key=value` overrides such as `pretrain.steps=100`, and other values of
    `keys`, which `keys_from` is to blame for.

    Raises:
        TsumuguError: the file cannot be read, is not YAML, or does not describe a possible run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TsumuguError(f"{path}: the recipe cannot be read: {error}") from error
    data = parse_yaml(text, where=str(path))
    if not isinstance(data, dict):
        raise TsumuguError(f"{path}: a recipe is a mapping of sections; found {_show(data)}")
    overridden = [_override(data, text) for text in overrides]
    for key, value in (keys or {}).items():
        _set(data, key, copy.deepcopy(value), where=keys_from)
        overridden.append(key)
    try:
        # JSON is the mode in which strict pydantic still accepts a list for a tuple.
        return Recipe.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise TsumuguError(_explain(error, path=path, overridden=overridden, by=keys_from)) from None
    except (TypeError, ValueError) as error:
        raise TsumuguError(f"{path}: a recipe holds text, numbers, lists and mappings: {error}") from error


def recipe_text(recipe: Recipe) -> str:
    """The full recipe as YAML, defaults included; `load_recipe` reads it back unchanged."""
    data = recipe.model_dump(mode="json")
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=100)


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors that complete and check YAML."""
    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def parse_yaml(text: str, *, where: str) -> Any:
    """YAML as recipes have it.

    Raises:
        TsumuguError: it is none.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise TsumuguError(f"{where}: this is not valid YAML: {error}") from error


def _override(data: dict[str, Any], text: str) -> str:
    """Lay one `key=value` over `data`; return the dotted key."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise TsumuguError(
            f"command line: {text!r} is not an override; write key=value, for example pretrain.steps=100"
        )
    _set(data, key, parse_yaml(value, where=f"command line: {key}"), where="command line")
    return key


def _set(data: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    """Lay one value over `data`."""
    target: Any = data
    parts = key.split(".")
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(target, list):
            if not part.isdecimal() or int(part) >= len(target):
                raise TsumuguError(
                    f"{where}: {key}: '{'.'.join(parts[:depth])}' is a list of {len(target)}; "
                    f"write a number from 0 to {len(target) - 1} in the place of {part!r}"
                )
            index: Any = int(part)
        elif isinstance(target, dict):
            index = part
            if not last:
                target.setdefault(part, {})
        else:
            raise TsumuguError(
                f"{where}: {key}: '{'.'.join(parts[:depth])}' is {_show(target)}, not a section"
            )
        if last:
            target[index] = value
        else:
            target = target[index]


def _explain(error: ValidationError, *, path: Path, overridden: Sequence[str], by: str) -> str:
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"]) or "(recipe)"
        origin = _origin(key, path=path, overridden=overridden, by=by)
        kind = item["type"]
        if kind == "extra_forbidden":
            message = _unknown_key(item["loc"])
        elif kind == "missing":
            message = "this key is required, and it is missing"
        else:
            message = item["msg"].removeprefix("Value error, ")
        found = (
            ""
            if kind in _FOUND_IS_NOISE or isinstance(item["input"], dict)
            else f"; found {_show(item['input'])}"
        )
        lines.append(f"{origin}: {key}: {message}{found}")
    return "\n".join(lines)


def _origin(key: str, *, path: Path, overridden: Sequence[str], by: str) -> str:
    """Who is to blame for `key`: the file, or an override of it, of its section, or of a part of it."""
    if any(f"{key}.".startswith(f"{override}.") for override in overridden):
        return by
    parts = [override for override in overridden if override.startswith(f"{key}.")]
    return f"{path} with {', '.join(parts)} from the {by}" if parts else str(path)


def _unknown_key(location: tuple[int | str, ...]) -> str:
    allowed = _keys_at(Recipe, location[:-1])
    close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown key{hint}; allowed here: {', '.join(allowed)}"


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The names of the keys that may stand at `location`."""
    chosen_by_user = False
    for part in location:
        if isinstance(part, int) or chosen_by_user:
            chosen_by_user = False
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        kinds = _types_in(field.annotation)
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
        chosen_by_user = dict in kinds
    return [] if chosen_by_user else list(model.model_fields)


def _types_in(annotation: Any) -> list[Any]:
    """All types in a type such as `dict[str, Section] | None`."""
    parts = [kind for inner in get_args(annotation) for kind in _types_in(inner)]
    return [get_origin(annotation) or annotation, *parts]


def _show(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a section"
    shown = json.dumps(value, ensure_ascii=False, default=str)
    kind = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list"}.get(
        type(value)
    )
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f"{shown} ({kind})" if kind else shown
