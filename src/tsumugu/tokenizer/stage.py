"""Documents to a tokenizer: trained on a sample or given, checked on held-out documents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.pipeline import Counts, StageContext
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokenizer.equality import load_twins, verdicts
from tsumugu.tokenizer.existing import write_existing, write_settings
from tsumugu.tokenizer.export import FAST, SPIECE, write_sentencepiece
from tsumugu.tokenizer.figures import Spelling, longest_pieces, read_pieces, spelling
from tsumugu.tokenizer.presets import PRESETS
from tsumugu.tokenizer.sampling import Document, Split, Totals, count_text, draw_documents, plan_sample
from tsumugu.tokenizer.training_process import train_in_process

_CHECKED_CHARACTERS = 20_000_000
"""Held-out text on which the twin is compared with SentencePiece; all of it, if there is less."""


def run(context: StageContext) -> Counts:
    """Write the tokenizer; return figures about how it spells the held-out documents."""
    recipe, config = context.recipe, context.recipe.tokenizer
    split = Split(recipe.seed, recipe.tokens.validation_fraction)
    documents = sorted((context.inputs["corpus"] / "documents").glob("*.parquet"))
    totals = count_text(documents, split, work=context.work / "counts", resources=context.resources)
    _refuse_empty_side(totals, split)

    longest = recipe.model.max_position_embeddings
    counts: Counts = {}
    if config.path is not None:
        write_existing(Path(config.path), context.folder, model_max_length=longest)
    else:
        _refuse_unknown_sources(config.source_weights or {}, totals)
        shares = plan_sample(
            totals.training, characters=config.training_characters, weights=config.source_weights
        )
        model, seen = train_in_process(documents, shares, split, config, work=context.work / "training")
        write_sentencepiece(context.folder, model)
        write_settings(context.folder, PRESETS[config.preset].special_tokens, model_max_length=longest)
        counts["trained_on"] = seen

    held_out = plan_sample(totals.held_out, characters=_CHECKED_CHARACTERS)
    sample = list(draw_documents(documents, held_out, split, held_out=True))
    if (context.folder / SPIECE).exists():
        texts = [document.text for document in sample]
        counts |= {"kind": "SentencePiece unigram", **_check_twin(context.folder, texts)}
    else:
        counts["kind"] = read_json(context.folder / FAST)["model"]["type"]
    return counts | _spelling(context.folder, sample)


def _refuse_empty_side(totals: Totals, split: Split) -> None:
    training, held_out = (
        sum(amount.documents for amount in side.values()) for side in (totals.training, totals.held_out)
    )
    if not training or not held_out:
        raise TsumuguError(
            f"tokens.validation_fraction = {split.fraction} divides the corpus into {training} training and "
            f"{held_out} validation documents; both are needed. Choose another fraction, or add documents."
        )


def _refuse_unknown_sources(weights: Mapping[str, float], totals: Totals) -> None:
    if unknown := sorted(set(weights) - set(totals.training)):
        raise TsumuguError(
            f"tokenizer.source_weights: the corpus has no training documents of {', '.join(unknown)}; its "
            f"sources are {', '.join(sorted(totals.training))}"
        )


def _check_twin(folder: Path, texts: Sequence[str]) -> Counts:
    found = verdicts(load_twins(folder), texts)
    if faults := found["fault"]:
        raise TsumuguError(
            f"tokenizer: the fast tokenizer differs from SentencePiece on {len(faults)} of "
            f"{len(texts)} held-out documents, the first is number {faults[0]}. It must not be "
            f"released; please report it with the recipe."
        )
    return {"ties": len(found["tie"]), "combining_marks": len(found["combining_marks"])}


def _spelling(folder: Path, sample: Sequence[Document]) -> Counts:
    pieces = read_pieces(load_encoder(folder))
    texts: dict[str, list[str]] = {}
    for document in sample:
        texts.setdefault(document.source, []).append(document.text)
    by_source = {source: spelling(pieces, texts[source]) for source in sorted(texts)}
    return {
        "vocab_size": pieces.encoder.vocab_size,
        "held_out": sum(by_source.values(), Spelling()).facts(),
        "held_out_sources": {source: found.facts() for source, found in by_source.items()},
        "longest_pieces": longest_pieces(pieces, (document.text for document in sample), count=20),
    }
