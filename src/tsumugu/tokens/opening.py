"""From a `tokens` folder and the recipe's `data` section to a loader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json
from tsumugu.tokens.config import DataConfig, SourceShare
from tsumugu.tokens.loader import Loader
from tsumugu.tokens.mixture import Mixture, resolve_mixture
from tsumugu.tokens.sequences import BestFit, Concatenated, Sequences
from tsumugu.tokens.shards import INDEX, Index, Shard, TokenStream, file_xxh3, open_tokens, read_index
from tsumugu.tokens.split import TRAIN
from tsumugu.training.config import PretrainConfig
from tsumugu.training.schedule import samples_before

_FACTS = "packing.json"


PACKING = "packing"
"""Where the pretrain stage keeps a best-fit packing, below its folder."""


@dataclass(frozen=True)
class RunLength:
    """What the loader must know of the training."""

    sequence_length: int
    batch_size: int
    samples: int
    """Sequences in the whole run."""


def run_length(pretrain: PretrainConfig) -> RunLength:
    """The same from a recipe."""
    samples = samples_before(pretrain.steps + 1, pretrain)
    return RunLength(pretrain.sequence_length, pretrain.global_batch_size, samples)


@dataclass(frozen=True)
class SourceUse:
    """What a run reads of one source."""

    tokens: int
    """In the source."""
    share: float
    """Of the run's sequences."""
    epochs: float
    """Passes over the source; above 1 it is upsampled."""


def open_loader(
    folder: Path, config: DataConfig, run: RunLength, *, seed: int, packing: Path, resources: Resources
) -> Loader:
    """The loader of the training split below the `tokens` folder `folder`.

    Best-fit packing is computed in the folder `packing`, as far as it is not there already.

    Raises:
        TsumuguError: damaged shards, too little text, or a mixture that cannot fill the run.
    """
    index = read_index(folder)
    streams = _streams(folder, index)
    chosen = streams if config.mixture is None else _chosen(streams, config.mixture)
    if config.packing == "best_fit":
        facts = _packing_facts(folder, run, chosen)
        if not (packing / _FACTS).exists() or read_json(packing / _FACTS) != facts:
            # Late: numba takes longer to import than a finished packing to open.
            from tsumugu.tokens.packing import pack_shards

            shards = [shard for stream in chosen.values() for shard in stream.shards]
            pack_shards(shards, run.sequence_length + 1, folder=packing, resources=resources)
            write_json(packing / _FACTS, facts)
    if config.mixture is None:
        # All sources are one stream; it has no name.
        chosen = {"": TokenStream(tuple(shard for stream in streams.values() for shard in stream.shards))}
    sources: dict[str, Sequences] = {
        name: BestFit(stream, packing)
        if config.packing == "best_fit"
        else Concatenated(stream, run.sequence_length)
        for name, stream in chosen.items()
    }
    sizes = {name: source.count for name, source in sources.items()}
    if config.mixture is not None:
        mixture = resolve_mixture(sizes, config.mixture, samples=run.samples, batch_size=run.batch_size)
    elif sizes[""] >= 1:
        mixture = Mixture(("",), np.array([sizes[""]]), np.array([1]))
    else:
        raise TsumuguError(
            f"{chosen[''].tokens} training tokens are too few for sequences of {run.sequence_length}; "
            f"choose a smaller pretrain.sequence_length, or add documents"
        )
    return Loader(
        sources=tuple(sources[name] for name in mixture.names),
        mixture=mixture,
        seed=seed,
        batch_size=run.batch_size,
        sequence_length=run.sequence_length,
        padding_id=index.eos_id,
        document_boundaries=config.document_boundaries,
    )


def is_packed(packing: Path, folder: Path, config: DataConfig, run: RunLength) -> bool:
    """Whether `packing` is whole, and what `open_loader` would compute with these arguments."""
    streams = _streams(folder, read_index(folder))
    chosen = streams if config.mixture is None else _chosen(streams, config.mixture)
    path = packing / _FACTS
    return path.exists() and read_json(path) == _packing_facts(folder, run, chosen)


def source_use(folder: Path, loader: Loader, run: RunLength) -> dict[str, SourceUse]:
    """What the run reads of every source, those that it leaves out included."""
    index = read_index(folder)
    tokens: dict[str, int] = {}
    for facts in index.shards:
        if facts.split == TRAIN:
            name = index.sources[facts.source].name
            tokens[name] = tokens.get(name, 0) + facts.tokens
    mixture = loader.mixture
    epochs = dict(zip(mixture.names, mixture.epochs(run.samples), strict=True))
    if "" in epochs:
        total = sum(tokens.values())
        return {name: SourceUse(count, count / total, epochs[""]) for name, count in tokens.items()}
    counts = dict(zip(mixture.names, mixture.counts(run.samples), strict=True))
    return {
        name: SourceUse(count, counts.get(name, 0) / run.samples, epochs.get(name, 0.0))
        for name, count in tokens.items()
    }


def _streams(folder: Path, index: Index) -> dict[str, TokenStream]:
    """The training tokens of every source that has some, by name and in order."""
    shards: dict[str, list[Shard]] = {}
    for shard in open_tokens(folder, TRAIN, index=index).shards:
        shards.setdefault(index.sources[shard.source].name, []).append(shard)
    return {name: TokenStream(tuple(found)) for name, found in shards.items()}


def _chosen(streams: Mapping[str, TokenStream], mixture: Mapping[str, SourceShare]) -> dict[str, TokenStream]:
    if unknown := [name for name in mixture if name not in streams]:
        raise TsumuguError(
            f"data.mixture: no training document comes from {unknown[0]!r}; the sources are "
            f"{', '.join(sorted(streams))}"
        )
    return {name: stream for name, stream in streams.items() if name in mixture}


def _packing_facts(folder: Path, run: RunLength, chosen: Mapping[str, TokenStream]) -> dict[str, Any]:
    return {
        "tokens": file_xxh3(folder / INDEX),
        "sequence_length": run.sequence_length,
        "sources": list(chosen),
    }
