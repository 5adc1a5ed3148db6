"""The released model to one that answers: conversations in, a Hugging Face directory out.

    records -> conversations -> tokens and marks -> supervised tuning -> preferences -> directory

The directory is checked as the release is: our decoder must give the logits that transformers gives,
and `apply_chat_template` the tokens that were learned from. Held-out text and tasks are asked again by
the evaluation room, so that one sees what tuning has cost the model elsewhere.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsumugu.files import computed_once, write_json, write_text
from tsumugu.pipeline import Counts, StageContext
from tsumugu.tuning.config import LONGEST, TuneConfig
from tsumugu.tuning.data import Conversation, Selected, divide, read_conversations, read_preferences, select
from tsumugu.tuning.template import (
    Encoded,
    Template,
    encode,
    encode_answer,
    encode_prompt,
    open_template,
    plain,
    stop_ids,
)

if TYPE_CHECKING:
    from tsumugu.tuning.phase import Phase

_CHECKED = 4
"""Held-out conversations whose logits are compared."""


@dataclass(frozen=True)
class Prepared:
    """What both trainings read."""

    tokenizer: Any
    template: Template
    selected: Selected
    learned: tuple[int, ...]
    """Places among the kept conversations."""
    held_out: tuple[int, ...]
    encoded: tuple[Encoded, ...]
    """Of the kept conversations."""
    max_length: int


def run(context: StageContext) -> Counts:
    """Write the directory, and `metrics.jsonl`, `samples.json`, `scores.json` and `decisions.jsonl`."""
    settings = context.recipe.tune
    assert settings is not None, "the stage is in no pipeline without it"
    base = context.inputs["release"]
    prepared = _prepare(context, settings, base)
    before = computed_once(context.work / "before.json", lambda: _measure(base, prepared, settings))
    trained, tuned = _train(context, settings, base, prepared)

    from tsumugu.tuning import releasing

    folder = context.folder
    releasing.write_directory(
        folder,
        base=base,
        tuned=tuned,
        template=prepared.template,
        stops=stop_ids(prepared.template, prepared.tokenizer),
    )
    difference = releasing.check(folder, [prepared.encoded[at].ids for at in prepared.held_out[:_CHECKED]])
    after = _measure(folder, prepared, settings)
    scores = computed_once(context.work / "scores.json", lambda: releasing.evaluate(context))
    samples = _samples(prepared, settings, before["answers"], after["answers"])
    counts = {
        **prepared.selected.counts(),
        "learned": len(prepared.learned),
        "held_out": len(prepared.held_out),
        "learned_tokens": sum(sum(prepared.encoded[place].learned) for place in prepared.learned),
        "read_tokens": settings.effective_epochs
        * sum(len(prepared.encoded[place].ids) for place in prepared.learned),
        "rendered_differently": _rendered_differently(folder, prepared),
        "answer_loss": {"before": before["loss"], "after": after["loss"], "tokens": after["tokens"]},
        "bits_per_byte": scores["bits_per_byte"],
        "tasks": scores["tasks"],
        "largest_logit_difference": difference,
        "template": settings.template,
        "method": settings.method,
        "samples": samples,
        **trained,
    }
    write_json(folder / "scores.json", scores | {"answer_loss": counts["answer_loss"]})
    write_json(folder / "samples.json", samples)
    _write_rows(folder / "decisions.jsonl", prepared.selected)
    question = _held_out(prepared)[0].messages[-2].content
    write_text(folder / "README.md", releasing.model_card(context.recipe, counts, question))
    releasing.seal(folder)
    return counts


def _prepare(context: StageContext, settings: TuneConfig, base: Path) -> Prepared:
    from tsumugu.release.loading import load_tokenizer

    recipe = context.recipe
    tokenizer = load_tokenizer(base)
    template = open_template(settings.template, tokenizer)
    max_length = settings.max_length or min(recipe.pretrain.sequence_length, LONGEST)
    conversations, quarantined = read_conversations(settings.data)
    encoded = [encode(template, one.messages, tokenizer) for one in conversations]
    selected = select(
        conversations,
        quarantined,
        [len(one.ids) for one in encoded],
        max_length=max_length,
        near_duplicate_jaccard=settings.near_duplicate_jaccard,
        decontamination=settings.decontamination or recipe.corpus.decontamination,
        work=context.work / "data",
        resources=context.resources,
    )
    by_id = {one.place.id: ids for one, ids in zip(conversations, encoded, strict=True)}
    learned, held_out = divide(selected.kept, seed=recipe.seed, fraction=settings.validation_fraction)
    return Prepared(
        tokenizer=tokenizer,
        template=template,
        selected=selected,
        learned=tuple(learned),
        held_out=tuple(held_out),
        encoded=tuple(by_id[one.place.id] for one in selected.kept),
        max_length=max_length,
    )


def _held_out(prepared: Prepared) -> list[Conversation]:
    return [prepared.selected.kept[place] for place in prepared.held_out]


def _measure(folder: Path, prepared: Prepared, settings: TuneConfig) -> dict[str, Any]:
    """The loss of held-out answers, and answers to the first held-out questions."""
    from tsumugu.release.loading import load_model
    from tsumugu.training.device import pick_device
    from tsumugu.tuning.measuring import answer_loss, answers
    from tsumugu.tuning.packing import make_rows

    model = load_model(folder).to(pick_device())
    encoded = [prepared.encoded[place] for place in prepared.held_out]
    loss = answer_loss(model, make_rows(encoded, max_length=prepared.max_length, packing=False))
    written = answers(
        model,
        prepared.tokenizer,
        [
            encode_prompt(prepared.template, one.messages[:-1], prepared.tokenizer)
            for one in _held_out(prepared)[: settings.samples]
        ],
        stops=stop_ids(prepared.template, prepared.tokenizer),
        longest=settings.sample_tokens,
    )
    return {"loss": loss.nats_per_token, "tokens": loss.tokens, "answers": written}


def _train(
    context: StageContext, settings: TuneConfig, base: Path, prepared: Prepared
) -> tuple[dict[str, Any], Path]:
    """The facts of the trainings, and the folder of the model that they end with."""
    from tsumugu.tuning.packing import make_rows
    from tsumugu.tuning.training import tune

    rows = make_rows(
        [prepared.encoded[place] for place in prepared.learned],
        max_length=prepared.max_length,
        packing=settings.packing,
    )
    phase = _phase(
        context,
        settings,
        "answers",
        base=base,
        metrics="metrics.jsonl",
        epochs=settings.effective_epochs,
        learning_rate=settings.effective_learning_rate,
    )
    # The folder appears whole, so it stands for the training that left it.
    if not phase.output.exists():
        tune(phase, rows, prepared.tokenizer)
    steps = -(-len(rows) * phase.epochs // settings.global_batch_size)
    facts: dict[str, Any] = {"steps": steps}
    if settings.preference is None:
        return facts, phase.output
    facts["preference"], output = _prefer(context, settings, phase.output, prepared)
    return facts, output


def _phase(
    context: StageContext,
    settings: TuneConfig,
    name: str,
    *,
    base: Path,
    metrics: str,
    epochs: int,
    learning_rate: float,
) -> "Phase":
    """A training from the model in `base` on, in folders of its own below the stage's work."""
    from tsumugu.tuning.phase import Phase

    recipe = context.recipe
    return Phase(
        name=name,
        base=base,
        output=context.work / name,
        work=context.work / f"{name}-training",
        metrics=context.folder / metrics,
        config=settings,
        model=recipe.model,
        max_shard_size=recipe.release.max_shard_size,
        seed=recipe.tuning_seed,
        epochs=epochs,
        learning_rate=learning_rate,
    )


def _prefer(
    context: StageContext, settings: TuneConfig, base: Path, prepared: Prepared
) -> tuple[dict[str, Any], Path]:
    from tsumugu.training.metrics import read_metrics
    from tsumugu.tuning.phase import Preference
    from tsumugu.tuning.training import prefer

    assert settings.preference is not None
    recipe, template, tokenizer = context.recipe, prepared.template, prepared.tokenizer
    found, quarantined = read_preferences(settings.preference.data)
    pairs = []
    for one in found:
        assert one.rejected is not None
        pairs.append(
            Preference(
                encode_prompt(template, one.messages[:-1], tokenizer),
                encode_answer(template, one.messages[-1].content, tokenizer),
                encode_answer(template, one.rejected, tokenizer),
            )
        )
    selected = select(
        found,
        quarantined,
        [len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs],
        max_length=prepared.max_length,
        near_duplicate_jaccard=settings.near_duplicate_jaccard,
        decontamination=settings.decontamination or recipe.corpus.decontamination,
        work=context.work / "preference-data",
        resources=context.resources,
    )
    kept = {one.place.id for one in selected.kept}
    phase = _phase(
        context,
        settings,
        "preferences",
        base=base,
        metrics="preference-metrics.jsonl",
        epochs=settings.preference.epochs,
        learning_rate=settings.preference.learning_rate,
    )
    if not phase.output.exists():
        wanted = [pair for one, pair in zip(found, pairs, strict=True) if one.place.id in kept]
        prefer(phase, wanted, tokenizer, settings.preference)
    _write_rows(context.folder / "preference-decisions.jsonl", selected)
    losses = [row["loss"] for row in read_metrics(phase.metrics)]
    return {**selected.counts(), "first_loss": losses[0], "last_loss": losses[-1]}, phase.output


def _rendered_differently(folder: Path, prepared: Prepared) -> int:
    """Conversations of which `apply_chat_template` makes other tokens than those that are learned from."""
    from tsumugu.release.loading import load_tokenizer

    tokenizer = load_tokenizer(folder)
    count = 0
    for one, ours in zip(prepared.selected.kept, prepared.encoded, strict=True):
        found = tokenizer.apply_chat_template(plain(one.messages), return_dict=True)
        count += list(found["input_ids"]) != list(ours.ids)
    return count


def _samples(
    prepared: Prepared, settings: TuneConfig, before: Sequence[str], after: Sequence[str]
) -> list[dict[str, str]]:
    return [
        {
            "question": one.messages[-2].content,
            "reference": one.messages[-1].content,
            "before": old,
            "after": new,
        }
        for one, old, new in zip(_held_out(prepared)[: settings.samples], before, after, strict=True)
    ]


def _write_rows(path: Path, selected: Selected) -> None:
    rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in selected.decisions()]
    write_text(path, "".join(rows))
