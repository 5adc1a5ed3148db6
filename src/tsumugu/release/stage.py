"""A trained model to a Hugging Face directory, checked by loading it as a user would."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tsumugu.files import read_json, write_aside, write_json
from tsumugu.model.decoder import Decoder
from tsumugu.model.products import use_pytorch_products
from tsumugu.pipeline import MANIFEST, Counts, StageContext
from tsumugu.release.adapter import hugging_face_config, to_hugging_face
from tsumugu.release.card import model_card
from tsumugu.tokenizer.encoder import load_encoder, load_fast_encoder
from tsumugu.tokens.shards import open_tokens
from tsumugu.tokens.split import VALIDATION
from tsumugu.training.stage import load_trained

LARGEST_DIFFERENCE = 1e-5
"""Between our logits and those of the released model, in float32."""
_CHECKED_DOCUMENTS = 4


def run(context: StageContext) -> Counts:
    """Write the release; return how far its logits are from ours."""
    recipe, folder = context.recipe, context.folder
    encoder = load_encoder(context.inputs["tokenizer"])
    model = load_trained(recipe, context.inputs["pretrain"], vocab_size=encoder.vocab_size)

    for path in sorted(context.inputs["tokenizer"].iterdir()):
        if path.name != MANIFEST:
            with write_aside(folder / path.name) as aside:
                shutil.copyfile(path, aside)
    bos, eos, pad = encoder.bos_id, encoder.eos_id, encoder.pad_id
    config = hugging_face_config(recipe.model, vocab_size=encoder.vocab_size, bos=bos, eos=eos, pad=pad)
    write_json(folder / "config.json", config)
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "do_sample": True,
            "temperature": recipe.release.temperature,
            "top_p": recipe.release.top_p,
            "top_k": 0,
            "repetition_penalty": recipe.release.repetition_penalty,
            "max_new_tokens": recipe.release.max_new_tokens,
        },
    )
    with write_aside(folder / "model.safetensors") as aside:
        save_file(to_hugging_face(model), aside, metadata={"format": "pt"})
        # safetensors writes for the owner alone; a release is for others to read.
        aside.chmod(0o644)

    difference = _check(context, model, folder)
    manifests = {name: read_json(path / MANIFEST) for name, path in context.inputs.items()}
    scores = read_json(context.inputs["evaluate"] / "scores.json")
    card = model_card(recipe, {name: found["counts"] for name, found in manifests.items()}, scores)
    with write_aside(folder / "README.md") as aside:
        aside.write_text(card, encoding="utf-8")
    return {
        "largest_logit_difference": difference,
        "parameters": manifests["pretrain"]["counts"]["parameters"],
    }


def load_released(folder: Path) -> tuple[Any, Any]:
    """The model and the tokenizer of a release, through transformers' own doors and nothing else."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def _check(context: StageContext, model: Decoder, folder: Path) -> float:
    """Compare logits and token ids on held-out text; return the largest difference of a logit."""
    released, tokenizer = load_released(folder)
    # Transformers has no other products; what they round differently is no fault of the release.
    use_pytorch_products(model)
    # What SentencePiece has to do with it was proven by the tokenizer stage.
    encoder = load_fast_encoder(context.inputs["tokenizer"])
    first = len(encoder.document_start)
    stream = open_tokens(context.inputs["tokens"], VALIDATION)
    largest = 0.0
    for number, document in enumerate(stream.each_document()):
        text = encoder.decode(document[first:-1].tolist())
        found = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        if found["input_ids"] != encoder.encode(text):
            raise AssertionError(f"the released tokenizer spells held-out document {number} differently")
        if number < _CHECKED_DOCUMENTS:
            tokens = torch.from_numpy(document[: context.recipe.model.max_position_embeddings])[None]
            largest = max(largest, float((model(tokens) - released(tokens).logits).abs().max()))
    if not largest < LARGEST_DIFFERENCE:
        raise AssertionError(f"the released model's logits differ from ours by {largest}")
    return largest
