"""A chosen layout into a recipe, whose comments and order stay as they are."""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from tsumugu.errors import TsumuguError
from tsumugu.files import write_text
from tsumugu.planning.workload import Candidate


def layout_keys(candidate: Candidate) -> dict[str, Any]:
    """The keys of `pretrain` that say `candidate`."""
    layout = candidate.layout
    degrees: dict[str, Any] = {
        "data_replicate": layout.data_replicate,
        "data_shard": layout.data_shard,
        "context": layout.context,
        "tensor": layout.tensor,
        "pipeline": layout.pipeline,
    }
    written = {name: value for name, value in degrees.items() if value > 1 or name == "data_shard"}
    if layout.pipeline > 1 and layout.pipeline_schedule != "1f1b":
        written["pipeline_schedule"] = layout.pipeline_schedule
    checkpointing: dict[str, Any] = {"mode": candidate.checkpointing}
    if candidate.every > 1:
        checkpointing["every"] = candidate.every
    return {
        "layout": written,
        "micro_batch_size": candidate.micro_batch_size,
        "activation_checkpointing": checkpointing,
    }


def overrides(candidate: Candidate) -> str:
    """The same as words behind a command."""
    keys = layout_keys(candidate)
    degrees = ", ".join(f"{name}: {value}" for name, value in keys["layout"].items())
    words = [f"'pretrain.layout={{{degrees}}}'", f"pretrain.micro_batch_size={candidate.micro_batch_size}"]
    checkpointing = ", ".join(f"{name}: {value}" for name, value in keys["activation_checkpointing"].items())
    return " ".join([*words, f"'pretrain.activation_checkpointing={{{checkpointing}}}'"])


def write_layout(path: Path, candidate: Candidate) -> None:
    """Set layout, micro-batch and checkpointing in the recipe at `path`; comments stay.

    Raises:
        TsumuguError: the file is not such that they can be set.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise TsumuguError(f"cannot write into {path}: {error}") from error
    if not isinstance(recipe, CommentedMap) or not isinstance(recipe.get("pretrain"), CommentedMap):
        raise TsumuguError(f"cannot write into {path}: it has no section pretrain")
    pretrain = recipe["pretrain"]
    for name, value in layout_keys(candidate).items():
        if isinstance(value, dict):
            new = CommentedMap(value)
            new.fa.set_flow_style()
            value = new
        pretrain[name] = value
    text = StringIO()
    yaml.dump(recipe, text)
    write_text(path, text.getvalue())
