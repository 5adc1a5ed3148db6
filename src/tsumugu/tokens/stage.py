"""Documents and a tokenizer to token shards, one task per shard."""

from collections.abc import Sequence
from pathlib import Path

from tsumugu.engine import map_shards
from tsumugu.files import read_json
from tsumugu.pipeline import Counts, StageContext
from tsumugu.recipe import Recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokens.encoding import EncodeTask, encode_shard
from tsumugu.tokens.frequencies import FREQUENCIES, frequencies_of, sum_frequencies, write_frequencies
from tsumugu.tokens.importing import ImportTask, import_part
from tsumugu.tokens.pretokenized import plan_parts
from tsumugu.tokens.shards import Index, ShardFacts, Source, open_tokens, token_dtype, write_index
from tsumugu.tokens.split import TRAIN, VALIDATION

_BULK = 64 * 2**20
"""Bytes of documents, compressed, with which encoding takes longer than getting ready for much of it."""


def run(context: StageContext) -> Counts:
    """Fill the folder with `train/`, `validation/`, `index.json` and `frequencies.npy`; return documents
    and tokens, also by source."""
    sources = sources_of(context.recipe)
    encoded = _encode_tasks(context, sources)
    map_shards(encode_shard, encoded, resources=context.resources, description="tokens: encode")
    imported = _import_tasks(context, sources)
    if imported:
        map_shards(import_part, imported, resources=context.resources, description="tokens: import")

    outputs = [task.output for task in encoded] + [task.output for task in imported]
    index = _index(context, sources, outputs)
    write_index(context.folder, index)
    frequencies = sum_frequencies([frequencies_of(output) for output in outputs], index.vocab_size)
    write_frequencies(context.folder / FREQUENCIES, frequencies)
    # Both splits must have something, and a shard that cannot be read is found out now.
    streams = {split: open_tokens(context.folder, split) for split in (TRAIN, VALIDATION)}
    return {
        **{
            split: {"documents": stream.documents, "tokens": stream.tokens}
            for split, stream in streams.items()
        },
        "sources": {
            source.name: {
                split: _sum([s for s in index.shards if (s.split, s.source) == (split, number)])
                for split in (TRAIN, VALIDATION)
            }
            for number, source in enumerate(sources)
        },
    }


def sources_of(recipe: Recipe) -> list[Source]:
    """All sources; a source's place is its number."""
    sources = [Source(entry.source, entry.license) for entry in recipe.corpus.inputs]
    return sources + [Source(entry.source, entry.license) for entry in recipe.tokens.pretokenized]


def _encode_tasks(context: StageContext, sources: Sequence[Source]) -> list[EncodeTask]:
    documents = sorted((context.inputs["corpus"] / "documents").glob("*.parquet"))
    bulk = sum(path.stat().st_size for path in documents) > _BULK
    return [
        EncodeTask(
            documents=path,
            tokenizer=context.inputs["tokenizer"],
            folder=context.folder,
            output=context.work / "facts" / f"{path.stem}.json",
            sources=tuple(source.name for source in sources),
            seed=context.recipe.seed,
            validation_fraction=context.recipe.tokens.validation_fraction,
            bulk=bulk,
        )
        for path in documents
    ]


def _import_tasks(context: StageContext, sources: Sequence[Source]) -> list[ImportTask]:
    tasks = []
    entries = context.recipe.tokens.pretokenized
    for source, entry in enumerate(entries, start=len(sources) - len(entries)):
        for number, part in enumerate(plan_parts(entry)):
            tasks.append(
                ImportTask(
                    part=part,
                    number=number,
                    source=source,
                    tokenizer=context.inputs["tokenizer"],
                    folder=context.folder,
                    output=context.work / "facts" / f"{source:03d}-{number:05d}.json",
                    seed=context.recipe.seed,
                    validation_fraction=context.recipe.tokens.validation_fraction,
                )
            )
    return tasks


def _index(context: StageContext, sources: Sequence[Source], outputs: Sequence[Path]) -> Index:
    encoder = load_encoder(context.inputs["tokenizer"])
    # Tasks are in order of number, and sorting keeps the order of equals.
    shards = [ShardFacts(**facts) for output in outputs for facts in read_json(output)]
    return Index(
        dtype=token_dtype(encoder.vocab_size),
        vocab_size=encoder.vocab_size,
        bos_id=encoder.bos_id,
        eos_id=encoder.eos_id,
        sources=tuple(sources),
        shards=tuple(sorted(shards, key=lambda facts: (facts.split, facts.source))),
    )


def _sum(shards: Sequence[ShardFacts]) -> dict[str, int]:
    return {
        "documents": sum(facts.documents for facts in shards),
        "tokens": sum(facts.tokens for facts in shards),
    }
