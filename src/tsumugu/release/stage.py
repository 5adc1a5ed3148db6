"""A trained model to a Hugging Face directory, checked by loading it as a user would."""

from pathlib import Path
from typing import Any

import torch

from tsumugu.files import read_json
from tsumugu.model.decoder import Decoder
from tsumugu.model.products import use_pytorch_products
from tsumugu.pipeline import MANIFEST, Counts, StageContext
from tsumugu.release.folder import write_model, write_papers
from tsumugu.release.loading import load_model, load_tokenizer
from tsumugu.release.weights import DTYPES
from tsumugu.tokenizer.encoder import load_encoder, load_fast_encoder
from tsumugu.tokens.shards import open_tokens
from tsumugu.tokens.split import VALIDATION
from tsumugu.training.checkpoint import latest_checkpoint
from tsumugu.training.stage import load_trained

LARGEST_DIFFERENCE = 1e-5
"""Between our logits and those of the released model, in float32."""
_CHECKED_DOCUMENTS = 4


def run(context: StageContext) -> Counts:
    """Write the release; return how far its logits are from ours."""
    recipe, folder, inputs = context.recipe, context.folder, context.inputs
    checkpoint = latest_checkpoint(inputs["pretrain"] / "checkpoints")
    assert checkpoint is not None, "a finished pretrain stage has a checkpoint"
    write_model(recipe, inputs["tokenizer"], checkpoint, folder)
    difference, rounding = _check(context, folder)
    scores = read_json(inputs["evaluate"] / "scores.json")
    write_papers(recipe, inputs, checkpoint, folder, scores=scores)
    return {
        "largest_logit_difference": difference,
        "rounding_logit_difference": rounding,
        "parameters": read_json(inputs["pretrain"] / MANIFEST)["counts"]["parameters"],
    }


def load_released(folder: Path) -> tuple[Any, Any]:
    """The model and the tokenizer of a release, through transformers' own doors and nothing else."""
    return load_model(folder).eval(), load_tokenizer(folder)


@torch.no_grad()
def _check(context: StageContext, folder: Path) -> tuple[float, float]:
    """Compare logits and token ids on held-out text.

    The weights that are compared are those that were stored, so that any precision is held to the same
    small difference.

    Returns:
        The largest difference of a logit, and the largest that rounding the weights makes.
    """
    recipe = context.recipe
    encoder = load_encoder(context.inputs["tokenizer"])
    trained = load_trained(recipe, context.inputs["pretrain"], vocab_size=encoder.vocab_size)
    released, tokenizer = load_released(folder)
    # Transformers has no other products; what they round differently is no fault of the release.
    use_pytorch_products(trained)
    stored = _rounded(trained, DTYPES[recipe.release.dtype])
    # What SentencePiece has to do with it was proven by the tokenizer stage.
    encoder = load_fast_encoder(context.inputs["tokenizer"])
    first = len(encoder.document_start)
    stream = open_tokens(context.inputs["tokens"], VALIDATION)
    largest = rounding = 0.0
    for number, document in enumerate(stream.each_document()):
        text = encoder.decode(document[first:-1].tolist())
        found = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        if found["input_ids"] != encoder.encode(text):
            raise AssertionError(f"the released tokenizer spells held-out document {number} differently")
        if number < _CHECKED_DOCUMENTS:
            tokens = torch.from_numpy(document[: recipe.model.max_position_embeddings])[None]
            ours = stored(tokens)
            largest = max(largest, float((ours - released(tokens).logits).abs().max()))
            if stored is not trained:
                rounding = max(rounding, float((ours - trained(tokens)).abs().max()))
    if not largest < LARGEST_DIFFERENCE:
        raise AssertionError(f"the released model's logits differ from ours by {largest}")
    return largest, rounding


def _rounded(model: Decoder, dtype: torch.dtype) -> Decoder:
    """With weights that went through `dtype`; the model itself where that changes nothing."""
    if dtype == torch.float32:
        return model
    with torch.device("meta"):
        other = Decoder(model.config, model.vocab_size)
    other.to_empty(device="cpu").eval()
    use_pytorch_products(other)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        theirs.copy_(ours.to(dtype))
    return other
