"""Documents to a tokenizer: train on a sample, export, check on held-out documents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tsumugu.errors import TsumuguError
from tsumugu.pipeline import Counts, StageContext
from tsumugu.tokenizer.config import BYTE_PIECES, SPECIAL_TOKENS
from tsumugu.tokenizer.export import differing_documents, load_sentencepiece, write_tokenizer
from tsumugu.tokenizer.sampling import Split, Totals, count_text, draw_documents, plan_sample
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

    _refuse_unknown_sources(config.source_weights or {}, totals)
    shares = plan_sample(
        totals.training, characters=config.training_characters, weights=config.source_weights
    )
    model, seen = train_in_process(documents, shares, split, config, work=context.work / "training")
    write_tokenizer(context.folder, model, model_max_length=recipe.model.max_position_embeddings)

    held_out = plan_sample(totals.held_out, characters=_CHECKED_CHARACTERS)
    texts = [document.text for document in draw_documents(documents, held_out, split, held_out=True)]
    differing = differing_documents(context.folder, texts)
    if differing:
        raise TsumuguError(
            f"tokenizer: the fast tokenizer differs from SentencePiece on {len(differing)} of "
            f"{len(texts)} held-out documents, the first is number {differing[0]}. It must not be "
            f"released; please report it with the recipe."
        )
    return {"trained_on": seen, "held_out_documents": len(texts), **_spelling(context.folder, texts)}


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


def _spelling(folder: Path, texts: Sequence[str]) -> Counts:
    processor = load_sentencepiece(folder)
    encoded = [processor.encode(text) for text in texts]
    first_piece = len(SPECIAL_TOKENS) + 1 + BYTE_PIECES
    tokens = sum(map(len, encoded))
    used = {index for ids in encoded for index in ids}
    byte_tokens = sum(processor.is_byte(index) for ids in encoded for index in ids)
    return {
        "vocab_size": processor.get_piece_size(),
        "held_out_tokens": tokens,
        "characters_per_token": sum(map(len, texts)) / tokens,
        "bytes_per_token": sum(len(text.encode()) for text in texts) / tokens,
        "byte_fallback_share": byte_tokens / tokens,
        "pieces_used_share": len(used) / processor.get_piece_size(),
        "longest_pieces": sorted(
            (processor.id_to_piece(index) for index in used if index >= first_piece),
            key=lambda piece: (-len(piece), piece),
        )[:20],
    }
