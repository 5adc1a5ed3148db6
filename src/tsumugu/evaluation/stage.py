"""A trained model to scores: perplexity beside n-gram baselines, and multiple-choice tasks.

Each part leaves its result in the work folder, so that a stage that was killed does not count
the n-grams again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tsumugu.evaluation.assess import text_figures
from tsumugu.evaluation.contamination import CONTAMINATION, contamination_of_run
from tsumugu.evaluation.harness import run_tasks
from tsumugu.evaluation.measuring import Measured, predict, windows_for
from tsumugu.evaluation.ngrams import Ids, train_ngrams
from tsumugu.evaluation.perplexity import ALL, Predicted, summarize_sources
from tsumugu.evaluation.results import Results, TaskFigures, machine, versions, write_results
from tsumugu.evaluation.subject import Subject, native_subject
from tsumugu.evaluation.tasks.groups import resolve_tasks
from tsumugu.evaluation.texts import Identify
from tsumugu.files import computed_once, read_json, write_json
from tsumugu.model.decoder import count_parameters
from tsumugu.pipeline import MANIFEST, Counts, StageContext
from tsumugu.tokenizer.encoder import Encoder, load_encoder
from tsumugu.tokens.shards import TokenStream, open_tokens, read_index
from tsumugu.tokens.split import TRAIN, VALIDATION
from tsumugu.training.device import pick_device
from tsumugu.training.stage import load_trained

MODEL = "model"


@dataclass(frozen=True)
class HeldOut:
    """The held-out documents, as the tokens stage has left them."""

    tokens: tuple[Ids, ...]
    """Of each text: without what begins and ends the document."""
    documents: tuple[Predicted, ...]
    """The same, not predicted yet (0 nats)."""
    unfaithful: int
    """Whose tokens give a text of another length."""
    unknown: int
    """Tokens for what the vocabulary lacks."""

    def predicted(self, nats: Sequence[float]) -> tuple[Predicted, ...]:
        """With what each of them cost a model."""
        return tuple(replace(one, nats=cost) for one, cost in zip(self.documents, nats, strict=True))


def run(context: StageContext) -> Counts:
    """Write `scores.json`, and what `tsumugu evaluate model` would leave; return the main figures."""
    recipe, settings = context.recipe, context.recipe.evaluate
    encoder = load_encoder(context.inputs["tokenizer"])
    subject = _subject(context, encoder)
    windows = windows_for(subject, stride=settings.stride)
    held_out = read_held_out(context.inputs["tokens"], encoder)

    def once(name: str, compute: Callable[[], Any]) -> Any:
        return computed_once(context.work / f"{name}.json", compute)

    costs = once("ngrams", lambda: _ngrams(context, held_out, text_start=encoder.prompt_start))
    costs[MODEL] = once(
        "model",
        lambda: predict(
            subject,
            held_out.tokens,
            windows,
            batch_size=settings.batch_size,
            description="evaluate: perplexity",
        ),
    )
    tasks: dict[str, Any] = {}
    if settings.tasks:
        tasks = once("tasks", lambda: _tasks(context, subject))
    models = {name: _figures(held_out.predicted(nats)) for name, nats in costs.items()}
    measured = Measured(
        documents=held_out.predicted(costs[MODEL]),
        windows=windows,
        unfaithful_documents=held_out.unfaithful,
        unknown_tokens=held_out.unknown,
    )
    figures = text_figures(measured)
    scores = {
        "perplexity": {
            **figures.model_dump(exclude={"sources", "unreadable"}),
            "models": models,
        },
        "tasks": {name: found["facts"] for name, found in tasks.items()},
    }
    write_json(context.folder / "scores.json", scores)
    results = Results(
        model={"name": recipe.name, **subject.facts},
        perplexity={VALIDATION: figures},
        tasks={name: TaskFigures.model_validate(found["facts"]) for name, found in tasks.items()},
        versions=versions(),
        machine=machine(subject.model.device),
        # The manifest tells the time. What a stage leaves is the same whenever it runs.
        seconds=0.0,
    )
    write_results(
        context.folder,
        results,
        documents={VALIDATION: measured.documents},
        items={name: found["items"] for name, found in tasks.items()},
    )
    return {
        "bits_per_byte": {name: found["bits_per_byte"] for name, found in models.items()},
        "tasks": {name: _main_value(found["facts"]) for name, found in tasks.items()},
    }


def read_held_out(folder: Path, encoder: Encoder) -> HeldOut:
    """The held-out documents of a `tokens` folder.

    A document's id is that of the text that its tokens give: the id that `tsumugu evaluate model`
    gives the text itself, unless the tokenizer changes it.
    """
    index = read_index(folder)
    identify = Identify()
    begin = 0 if index.bos_id is None else 1
    tokens, documents, unfaithful = [], [], 0
    for shard in open_tokens(folder, VALIDATION).shards:
        lengths = shard.lengths.tolist()
        for whole, (characters, size) in zip(TokenStream((shard,)).each_document(), lengths, strict=True):
            ids = whole[begin:-1]
            text = encoder.decode(ids.tolist())
            unfaithful += (len(text), len(text.encode())) != (characters, size)
            tokens.append(ids)
            documents.append(
                Predicted(
                    id=identify(text),
                    source=index.sources[shard.source].name,
                    nats=0.0,
                    tokens=len(ids),
                    characters=characters,
                    bytes=size,
                )
            )
    unknown = sum(int((ids == encoder.unk_id).sum()) for ids in tokens) if encoder.unk_id is not None else 0
    return HeldOut(tuple(tokens), tuple(documents), unfaithful, unknown)


def ngram_names(order: int) -> dict[str, int]:
    """The baselines of an evaluation: name and order."""
    return {"unigram": 1, "bigram": 2, f"kneser_ney_{order}gram": order}


def _subject(context: StageContext, encoder: Encoder) -> Subject:
    recipe = context.recipe
    model = load_trained(recipe, context.inputs["pretrain"], vocab_size=encoder.vocab_size).to(pick_device())
    length = recipe.pretrain.sequence_length
    facts = {
        "fingerprint": read_json(context.inputs["pretrain"] / MANIFEST)["fingerprint"][:16],
        "parameters": count_parameters(model),
        "dtype": "float32",
        "max_length": length,
        "prompt_start": encoder.bos_id is not None,
    }
    return native_subject(MODEL, model, encoder, max_length=length, facts=facts)


def _documents(folder: Path, stream: TokenStream) -> Iterator[Ids]:
    """Documents with a token before the first that is predicted.

    Where the tokenizer has no `<s>`, that is what stands there in training: the end of another
    document. Otherwise the bytes of a first token would count and its probability would not.
    """
    index = read_index(folder)
    for document in stream.each_document():
        yield document if index.bos_id is not None else np.concatenate([[index.eos_id], document])


def _ngrams(context: StageContext, held_out: HeldOut, *, text_start: int) -> dict[str, list[float]]:
    """Nats of every held-out document, by baseline."""
    settings = context.recipe.evaluate
    folder = context.inputs["tokens"]
    training = []
    left = settings.ngram_training_tokens
    for document in _documents(folder, open_tokens(folder, TRAIN)):
        training.append(document)
        left -= len(document)
        if left <= 0:
            break
    found = {}
    for name, order in ngram_names(settings.ngram_order).items():
        ngrams = train_ngrams(training, order=order, vocab_size=read_index(folder).vocab_size)
        found[name] = [
            -float(np.sum(ngrams.log_probabilities(np.concatenate([[text_start], ids]))))
            for ids in held_out.tokens
        ]
    return found


def _figures(documents: Sequence[Predicted]) -> dict[str, Any]:
    sources = summarize_sources(documents)
    return {**sources.pop(ALL), "sources": sources}


def _tasks(context: StageContext, subject: Subject) -> dict[str, Any]:
    settings = context.recipe.evaluate
    results = run_tasks(
        subject,
        resolve_tasks(settings.tasks),
        batch_size=settings.batch_size,
        cache=context.work / "answers",
    )
    found = contamination_of_run(
        context.folder.parent,
        {name: result.texts for name, result in results.items()},
        work=context.work / "contamination",
        resources=context.resources,
    )
    return {
        name: {
            "facts": result.facts | ({CONTAMINATION: found[name].to_json()} if name in found else {}),
            "items": result.items,
        }
        for name, result in results.items()
    }


def _main_value(facts: Mapping[str, Any]) -> float | None:
    value: float | None = facts["metrics"][facts["main_metric"]]["value"]
    return value
