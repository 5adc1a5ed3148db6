"""Documents to a tokenizer: train on the training documents, export, check on the held-out ones."""

from tsumugu.corpus.tables import read_documents
from tsumugu.errors import TsumuguError
from tsumugu.pipeline import Counts, StageContext
from tsumugu.tokenizer.config import BYTE_PIECES, SPECIAL_TOKENS
from tsumugu.tokenizer.export import differing_documents, load_sentencepiece, write_tokenizer
from tsumugu.tokenizer.training import train_sentencepiece
from tsumugu.tokens.split import is_validation


def run(context: StageContext) -> Counts:
    """Write the tokenizer; return figures about how it spells the held-out documents."""
    recipe = context.recipe
    training: list[str] = []
    held_out: list[str] = []
    for document in read_documents(context.inputs["corpus"]):
        held = is_validation(document["id"], seed=recipe.seed, fraction=recipe.tokens.validation_fraction)
        (held_out if held else training).append(document["text"])
    if not training or not held_out:
        raise TsumuguError(
            f"tokens.validation_fraction = {recipe.tokens.validation_fraction} divides the corpus into "
            f"{len(training)} training and {len(held_out)} validation documents; both are needed. "
            f"Choose another fraction, or add documents."
        )

    model = train_sentencepiece(training, recipe.tokenizer, seed=recipe.seed)
    write_tokenizer(context.folder, model, model_max_length=recipe.model.max_position_embeddings)

    differing = differing_documents(context.folder, held_out)
    if differing:
        raise TsumuguError(
            f"tokenizer: the fast tokenizer differs from SentencePiece on {len(differing)} of "
            f"{len(held_out)} held-out documents, the first is number {differing[0]}. It must not be "
            f"released; please report it with the recipe."
        )
    return {
        "training_documents": len(training),
        "held_out_documents": len(held_out),
        **_spelling(context, held_out),
    }


def _spelling(context: StageContext, texts: list[str]) -> Counts:
    processor = load_sentencepiece(context.folder)
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
