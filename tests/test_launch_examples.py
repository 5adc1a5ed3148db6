"""What the documents tell people to type can be typed: commands, recipes, jobs, and the table of models."""

import re
import shlex
import subprocess
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.distributed.run import get_args_parser

from tsumugu.cli import parse
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.model.presets import PRESETS
from tsumugu.recipe import load_recipe

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "recipes" / "demo.yaml"
SLURM = ROOT / "examples" / "slurm" / "pretrain.sbatch"
KUBERNETES = ROOT / "examples" / "kubernetes" / "pretrain.yaml"
PAGES = [ROOT / "docs" / "training.md", ROOT / "examples" / "README.md"]

_SHELL_WORDS = {"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def pod_command() -> str:
    """What a pod runs."""
    _, job = yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8"))
    shell, option, script = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert (shell, option) == ("bash", "-c")
    return str(script)


def scripts() -> dict[str, str]:
    """All shell text, by where it stands."""
    found = {"slurm": SLURM.read_text(encoding="utf-8"), "kubernetes": pod_command()}
    for page in PAGES:
        for number, block in enumerate(blocks(page, "bash")):
            found[f"{page.name}, block {number}"] = block
    return found


def commands(script: str) -> Iterator[list[str]]:
    """The words of every command of a script that starts `tsumugu` or `torchrun`."""
    for line in script.replace("\\\n", " ").split("\n"):
        words = shlex.split(line.removeprefix("#   "), comments=True)
        starts = [place for place, word in enumerate(words) if word in ("tsumugu", "torchrun")]
        if starts and not line.startswith("# "):
            rest = words[starts[0] :]
            ends = [place for place, word in enumerate(rest) if word in _SHELL_WORDS]
            yield rest[: ends[0]] if ends else rest


ALL = [(where, words) for where, script in scripts().items() for words in commands(script)]


def test_there_is_something_to_check() -> None:
    assert {"slurm", "kubernetes"} <= {where for where, _ in ALL}
    assert sum(words[0] == "torchrun" for _, words in ALL) >= 4
    assert sum(words[0] == "tsumugu" for _, words in ALL) >= 5


@pytest.mark.parametrize("where", scripts())
def test_shell_is_shell(where: str) -> None:
    subprocess.run(["bash", "-n"], input=scripts()[where], text=True, check=True)


@pytest.mark.parametrize(("where", "words"), ALL, ids=[f"{where}: {' '.join(words)}" for where, words in ALL])
def test_a_command_is_understood(where: str, words: list[str]) -> None:
    if words[0] == "torchrun":
        words = torchrun_command(words[1:])
    assert words[0] == "tsumugu"
    _, options = parse(words[1:])
    # Values may be the shell's variables; keys and the form of a recipe are checked where there are any.
    overrides = getattr(options, "overrides", [])
    if overrides:
        load_recipe(DEMO, overrides)


def torchrun_command(words: list[str]) -> list[str]:
    """What torchrun would start, as torchrun itself takes its command line apart."""
    parser: ArgumentParser = get_args_parser()
    found = parser.parse_args(words)
    assert found.module
    return [found.training_script, *found.training_script_args]


def test_torchrun_refuses_run() -> None:
    with pytest.raises(SystemExit):
        get_args_parser().parse_args(["-m", "tsumugu", "pretrain", "recipe.yaml", "--run", "x"])


FRAGMENTS = blocks(ROOT / "docs" / "training.md", "yaml")


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=[text.split("\n")[0] for text in FRAGMENTS])
def test_a_fragment_of_a_recipe_is_valid(fragment: str, tmp_path: Path) -> None:
    recipe: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    for section, keys in yaml.safe_load(fragment).items():
        # Half of a shape and half of another would be neither.
        recipe[section] = keys if section == "model" else {**recipe.get(section, {}), **keys}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    load_recipe(path)


def test_fragments_are_found() -> None:
    assert len(FRAGMENTS) >= 5


def test_the_table_of_models_says_what_is_counted() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\S+)` \| (\S+) \| (\d+) \| (\d+) \| (\d+) \((\d+)\) \| (\d+) \| ([\d,]+) \|$", text, re.M
    )
    told = {name: (kind, *map(int, shape), int(count.replace(",", ""))) for name, kind, *shape, count in rows}
    counted = {}
    for name in PRESETS:
        config = ModelConfig.model_validate({"preset": name})
        with torch.device("meta"):
            count = count_parameters(Decoder(config, 51_200))
        counted[name] = (
            config.architecture,
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.key_value_heads,
            config.max_position_embeddings,
            count,
        )
    assert told == counted


def test_slurm_gives_torchrun_less_time_than_it_gives_the_job() -> None:
    text = SLURM.read_text(encoding="utf-8")
    (notice,) = re.findall(r"^#SBATCH --signal=TERM@(\d+)$", text, re.M)
    (patience,) = re.findall(r"--shutdown-timeout (\d+)", text)
    assert 30 < int(patience) < int(notice)
    assert text.startswith("#!/bin/bash\n")
    assert "#SBATCH --requeue\n" in text


def test_pods_find_each_other_and_get_time_for_a_checkpoint() -> None:
    service, job = yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    name = job["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert f"--rdzv-endpoint {name}-0.{pod['subdomain']}:" in pod_command()
    environment = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert spec["completionMode"] == "Indexed"
    assert str(spec["parallelism"]) == str(spec["completions"]) == environment["NODES"]
    gpus = pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert str(gpus) == environment["PROCESSES_PER_NODE"]
    (patience,) = re.findall(r"--shutdown-timeout (\d+)", pod_command())
    assert 30 < int(patience) < pod["terminationGracePeriodSeconds"]
    # Otherwise the shell would get the signal, and keep it to itself.
    assert pod_command().startswith("exec torchrun")
