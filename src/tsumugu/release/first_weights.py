"""The weights of a Hugging Face directory as those that a training begins with, under any layout."""

from pathlib import Path

from tsumugu.errors import TsumuguError
from tsumugu.model.config import ModelConfig
from tsumugu.release.adapter import TheirWeights
from tsumugu.release.weight_files import read_weights

_PADDING = 1024
"""More rows than a vocabulary is padded with, to be a round number."""


def open_first_weights(folder: Path, config: ModelConfig, vocab_size: int) -> TheirWeights:
    """The weights, of which `fill` reads what a part of the model needs: rows, or a tensor at a time.

    Args:
        folder: the directory, `model.weights` of a recipe.
        config: the recipe's model, whose shape is that of the directory.
        vocab_size: of the run's tokenizer. Rows of the embeddings after these stand for no token, and
            are left out.

    Raises:
        TsumuguError: the directory has no such weights, or they are for another tokenizer.
    """
    where = f"model.weights = {folder}"
    if not folder.is_dir():
        raise TsumuguError(f"{where}: there is no such directory")
    try:
        weights = TheirWeights(read_weights(folder), config)
    except TsumuguError as error:
        raise TsumuguError(f"{where}: {error}") from error
    spare = weights.vocab_size - vocab_size
    if not 0 <= spare < _PADDING:
        raise TsumuguError(
            f"{where}: its vocabulary has {weights.vocab_size:,} tokens, and the run's tokenizer "
            f"{vocab_size:,}. Their ids mean different things; take the tokenizer that the weights were "
            f"trained with: tokenizer.path={folder}"
        )
    return weights
