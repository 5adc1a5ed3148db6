"""The tuned weights to a Hugging Face directory, checked and scored as the release was."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import torch
import yaml

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.harness import run_tasks
from tsumugu.evaluation.language_model import NativeModel
from tsumugu.evaluation.measuring import predict, windows_for
from tsumugu.evaluation.perplexity import ALL, summarize_sources
from tsumugu.evaluation.stage import read_held_out
from tsumugu.evaluation.subject import Subject, open_subject
from tsumugu.evaluation.tasks.groups import resolve_tasks
from tsumugu.files import read_json, write_aside, write_json
from tsumugu.model.products import use_pytorch_products
from tsumugu.pipeline import MANIFEST, StageContext
from tsumugu.recipe import Recipe
from tsumugu.release.card_metadata import card_head
from tsumugu.release.check import check_release
from tsumugu.release.folder import CARD
from tsumugu.release.loading import load_model
from tsumugu.release.stage import LARGEST_DIFFERENCE
from tsumugu.release.sums import SUMS, write_sums
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tuning.template import Template, store_template
from tsumugu.tuning.training import ADAPTER

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def write_directory(
    folder: Path, *, base: Path, tuned: Path, template: Template, stops: Sequence[int]
) -> None:
    """Weights and adapter of the training, the chat template, and everything else of the release."""
    weights = [path for pattern in _WEIGHTS for path in sorted(tuned.glob(pattern))]
    old = {path.name for pattern in _WEIGHTS for path in base.glob(pattern)}
    changed = {MANIFEST, CARD, SUMS, "generation_config.json", "tokenizer_config.json", *old}
    rest = [path for path in sorted(base.iterdir()) if path.is_file() and path.name not in changed]
    for path in [*weights, *rest]:
        with write_aside(folder / path.name) as aside:
            shutil.copyfile(path, aside)
            aside.chmod(0o644)
    if (tuned / ADAPTER).is_dir():
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        with write_aside(folder / ADAPTER) as aside:
            shutil.copytree(tuned / ADAPTER, aside)
    store_template(template, base, folder)
    generation = read_json(base / "generation_config.json")
    generation["eos_token_id"] = list(stops) if len(stops) > 1 else stops[0]
    write_json(folder / "generation_config.json", generation)


def seal(folder: Path) -> None:
    """Write the sums of all files, and look at the directory as `tsumugu release check` does.

    Raises:
        TsumuguError: something is wrong with it.
    """
    write_sums(folder)
    if wrong := check_release(folder).wrong:
        told = "; ".join(f"{finding.subject}: {finding.text}" for finding in wrong)
        raise TsumuguError(f"tune: the tuned model cannot be released: {told}")


def check(folder: Path, conversations: Sequence[Sequence[int]]) -> float:
    """Compare the logits of our decoder with those of transformers; return the largest difference."""
    theirs = load_model(folder).eval()
    subject = open_subject(str(folder))
    assert isinstance(subject.model, NativeModel), "our own architectures are computed by our own decoder"
    ours = subject.model.decoder
    use_pytorch_products(ours)
    device = subject.model.device
    theirs = theirs.to(device)
    largest = 0.0
    with torch.no_grad():
        for ids in conversations:
            tokens = torch.tensor([list(ids)], device=device)
            largest = max(largest, float((ours(tokens) - theirs(tokens).logits).abs().max()))
    if not largest < LARGEST_DIFFERENCE:
        raise AssertionError(f"the tuned model's logits differ from ours by {largest}")
    return largest


def evaluate(context: StageContext) -> dict[str, Any]:
    """Held-out text and tasks of the recipe, as the evaluate stage asks them, before and after."""
    settings = context.recipe.evaluate
    encoder = load_encoder(context.inputs["tokenizer"])
    held_out = read_held_out(context.inputs["tokens"], encoder)
    subject = _subject(context, has_bos=encoder.bos_id is not None)
    nats = predict(
        subject,
        held_out.tokens,
        windows_for(subject, stride=settings.stride),
        batch_size=settings.batch_size,
        description="tune: perplexity",
    )
    figures = summarize_sources(held_out.predicted(nats))[ALL]
    results = {}
    if settings.tasks:
        cache = context.work / "answers"
        tasks = resolve_tasks(settings.tasks)
        results = run_tasks(subject, tasks, batch_size=settings.batch_size, cache=cache)
    before = read_json(context.inputs["evaluate"] / "scores.json")
    return {
        "bits_per_byte": {
            "before": before["perplexity"]["models"]["model"]["bits_per_byte"],
            "after": figures["bits_per_byte"],
        },
        "tasks": {
            name: {"before": _main_value(before["tasks"][name]), "after": _main_value(result.facts)}
            for name, result in results.items()
        },
        "perplexity": figures,
        "task_facts": {name: result.facts for name, result in results.items()},
    }


def model_card(recipe: Recipe, counts: Mapping[str, Any], question: str) -> str:
    """The Markdown text of the README."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tsumugu", "tuning"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML; of the data only a question goes in, as a JSON string.
        autoescape=False,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    # The scores of the model before are not those of this one.
    head = yaml.safe_load(card_head(recipe, None))
    head["tags"] = [*head["tags"], "instruction-tuned"]
    assert recipe.tune is not None
    licenses = {entry.source: entry.license for entry in recipe.tune.data}
    return environment.get_template("card.md.j2").render(
        recipe=recipe,
        counts=counts,
        licenses=licenses,
        question=question,
        head=yaml.safe_dump(head, allow_unicode=True, sort_keys=False).strip(),
    )


def _subject(context: StageContext, *, has_bos: bool) -> Subject:
    name = f"{context.recipe.name}-tuned"
    length = context.recipe.pretrain.sequence_length
    subject = open_subject(str(context.folder), name=name, max_length=length, add_bos=has_bos)
    # Where it lies now is not where it will lie.
    return replace(subject, facts={})


def _main_value(facts: Mapping[str, Any]) -> float | None:
    value: float | None = facts["metrics"][facts["main_metric"]]["value"]
    return value
