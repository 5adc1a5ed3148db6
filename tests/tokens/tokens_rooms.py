"""A small corpus and its tokenizer, on which the tokens stage is run by itself."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conftest import japanese_text
from tsumugu.corpus.tables import DOCUMENTS, shard_name, table_writer
from tsumugu.engine import Engine, Resources
from tsumugu.pipeline import Counts, StageContext
from tsumugu.recipe import Recipe
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.existing import write_settings
from tsumugu.tokenizer.export import write_sentencepiece
from tsumugu.tokenizer.presets import SPECIAL_TOKENS
from tsumugu.tokenizer.sampling import Document
from tsumugu.tokenizer.training import train_sentencepiece
from tsumugu.tokens.stage import run

SOURCES = ("web", "books")


def make_rooms(folder: Path, shards: Sequence[Sequence[tuple[str, str, str]]]) -> None:
    """Corpus and tokenizer folders; `shards` holds (id, source, text) of each document."""
    for number, rows in enumerate(shards):
        with table_writer(folder / "corpus" / "documents" / shard_name(number), DOCUMENTS) as write:
            ids, sources, texts = (list(column) for column in zip(*rows, strict=True))
            empty = [""] * len(rows)
            write(
                {
                    "id": ids, "text": texts, "url": empty, "source": sources, "license": empty,
                    "metadata": empty,
                }
            )  # fmt: skip
    documents = [Document(source, text) for rows in shards for _, source, text in rows]
    model, _ = train_sentencepiece(documents, TokenizerConfig(vocab_size=460, max_piece_characters=4))
    write_sentencepiece(folder / "tokenizer", model)
    write_settings(folder / "tokenizer", SPECIAL_TOKENS, model_max_length=128)


def small_corpus() -> list[list[tuple[str, str, str]]]:
    """Three shards of (id, source, text); the last has none of `books`."""
    return [
        [
            (
                f"{shard:016x}{row:016x}",
                SOURCES[row % 2 == 0 and shard < 2],
                japanese_text(100 * shard + row, 3),
            )
            for row in range(20)
        ]
        for shard in range(3)
    ]


def with_tokens(recipe: Recipe, pretokenized: Sequence[dict[str, Any]] = ()) -> Recipe:
    """The tiny recipe with the two sources and inputs of token ids."""
    data = recipe.model_dump(mode="json")
    data["corpus"]["inputs"] = [
        {"path": f"/nowhere/{source}", "source": source, "license": "CC0-1.0"} for source in SOURCES
    ]
    data["tokens"] = {"validation_fraction": 0.3, "pretokenized": list(pretokenized)}
    return Recipe.model_validate_json(json.dumps(data))


def run_tokens(
    recipe: Recipe, rooms: Path, folder: Path, *, workers: int = 1, engine: Engine = "local"
) -> Counts:
    """Run the stage into `folder/tokens`."""
    return run(
        StageContext(
            recipe=recipe,
            folder=folder / "tokens",
            work=folder / "tokens.work",
            inputs={"corpus": rooms / "corpus", "tokenizer": rooms / "tokenizer"},
            resources=Resources(workers, engine),
        )
    )
