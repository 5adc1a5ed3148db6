"""A trained model to scores: perplexity beside n-gram baselines, and multiple-choice tasks.

Each part leaves its result in the work folder, so that a stage that was killed does not count
the n-grams again.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsumugu.evaluation.groups import resolve_tasks
from tsumugu.evaluation.harness import run_tasks
from tsumugu.evaluation.language_model import LanguageModel
from tsumugu.evaluation.ngrams import Ids, train_ngrams
from tsumugu.evaluation.perplexity import HeldOut, summarize
from tsumugu.evaluation.scoring import score
from tsumugu.evaluation.subject import Subject, native_subject
from tsumugu.files import read_json, write_json
from tsumugu.pipeline import Counts, StageContext
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokens.shards import TokenStream, open_tokens, read_index
from tsumugu.tokens.split import TRAIN, VALIDATION
from tsumugu.training.device import pick_device
from tsumugu.training.stage import load_trained

MODEL = "model"


def run(context: StageContext) -> Counts:
    """Write `scores.json`; return its main figures."""
    recipe = context.recipe
    encoder = load_encoder(context.inputs["tokenizer"])
    model = load_trained(recipe, context.inputs["pretrain"], vocab_size=encoder.vocab_size)
    length = recipe.pretrain.sequence_length
    subject = native_subject(MODEL, model.to(pick_device()), encoder, max_length=length)
    stream = open_tokens(context.inputs["tokens"], VALIDATION)
    documents = list(_documents(context.inputs["tokens"], stream))
    held_out = _held_out(stream, documents)

    def once(name: str, compute: Callable[[], Any]) -> Any:
        return _once(context.work / f"{name}.json", compute)

    models = once("ngrams", lambda: _ngrams(context, documents, held_out))
    models[MODEL] = once("model", lambda: _perplexity(context, subject.model, documents, held_out))
    tasks: dict[str, Any] = {}
    if recipe.evaluate.tasks:
        tasks = once(
            "tasks",
            lambda: _tasks(context, subject),
        )
    scores = {
        "perplexity": {
            "documents": len(held_out.tokens),
            "tokens": sum(held_out.tokens),
            "characters": sum(held_out.characters),
            "bytes": sum(held_out.bytes),
            "context_tokens": length,
            "models": models,
        },
        "tasks": tasks,
    }
    write_json(context.folder / "scores.json", scores)
    return {
        "bits_per_byte": {name: found["bits_per_byte"] for name, found in models.items()},
        "accuracy": {name: found["accuracy"] for name, found in tasks.items()},
    }


def _tasks(context: StageContext, subject: Subject) -> dict[str, Any]:
    settings = context.recipe.evaluate
    results = run_tasks(
        subject,
        resolve_tasks(settings.tasks),
        batch_size=settings.batch_size,
        cache=context.work / "answers",
    )
    return {name: result.facts for name, result in results.items()}


def _held_out(stream: TokenStream, documents: Sequence[Ids]) -> HeldOut:
    lengths = np.concatenate([shard.lengths for shard in stream.shards])
    return HeldOut(
        tokens=tuple(len(tokens) - 1 for tokens in documents),
        characters=tuple(lengths[:, 0].tolist()),
        bytes=tuple(lengths[:, 1].tolist()),
    )


def _documents(folder: Path, stream: TokenStream) -> Iterator[Ids]:
    """Documents with a token before the first that is predicted.

    Where the tokenizer has no `<s>`, that is what stands there in training: the end of another
    document. Otherwise the bytes of a first token would count and its probability would not.
    """
    index = read_index(folder)
    for document in stream.each_document():
        yield document if index.bos_id is not None else np.concatenate([[index.eos_id], document])


def _perplexity(
    context: StageContext, model: LanguageModel, documents: Sequence[Ids], held_out: HeldOut
) -> dict[str, Any]:
    scored = score(
        model,
        [(tokens, 1) for tokens in documents],
        batch_size=context.recipe.evaluate.batch_size,
        description="evaluate: perplexity",
    )
    return summarize([one.log_probability for one in scored], held_out)


def _ngrams(context: StageContext, documents: Sequence[Ids], held_out: HeldOut) -> dict[str, dict[str, Any]]:
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
        sums = [float(np.sum(ngrams.log_probabilities(document))) for document in documents]
        found[name] = summarize(sums, held_out)
    return found


def ngram_names(order: int) -> dict[str, int]:
    """The baselines of an evaluation: name and order."""
    return {"unigram": 1, "bigram": 2, f"kneser_ney_{order}gram": order}


def _once(path: Path, compute: Callable[[], Any]) -> Any:
    if not path.exists():
        write_json(path, compute())
    return read_json(path)
