"""What stands in a release beside the weights: configuration, tokenizer, card, licence, sums."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_aside, write_json, write_text
from tsumugu.model.counts import flops_per_token
from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.pipeline import MANIFEST
from tsumugu.recipe import Recipe
from tsumugu.release.adapter import hugging_face_config
from tsumugu.release.card import Trained, model_card
from tsumugu.release.config import LICENSE_TEXTS, ReleaseConfig
from tsumugu.release.sums import write_sums
from tsumugu.release.weights import export_weights
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokenizer.templates import refuse_hostile_templates
from tsumugu.training.checkpoint_files import read_state
from tsumugu.training.metrics import read_metrics

LICENSE, CARD = "LICENSE", "README.md"


def write_model(recipe: Recipe, tokenizer: Path, checkpoint: Path, folder: Path) -> None:
    """Write weights, configuration, generation settings and tokenizer.

    Raises:
        TsumuguError: the checkpoint is damaged, or does not fit; a chat template is hostile.
    """
    encoder = load_encoder(tokenizer)
    refuse_hostile_templates(tokenizer)
    for path in sorted(tokenizer.iterdir()):
        if path.name != MANIFEST and path.is_file():
            with write_aside(folder / path.name) as aside:
                shutil.copyfile(path, aside)
    release = recipe.release
    bos, eos, pad = encoder.bos_id, encoder.eos_id, encoder.pad_id
    config = hugging_face_config(
        recipe.model, vocab_size=encoder.vocab_size, bos=bos, eos=eos, pad=pad, dtype=release.dtype
    )
    write_json(folder / "config.json", config)
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "do_sample": True,
            "temperature": release.temperature,
            "top_p": release.top_p,
            "top_k": 0,
            "repetition_penalty": release.repetition_penalty,
            "max_new_tokens": release.max_new_tokens,
        },
    )
    export_weights(
        checkpoint,
        folder,
        recipe.model,
        vocab_size=encoder.vocab_size,
        dtype=release.dtype,
        max_shard_size=release.max_shard_size,
    )


def write_papers(
    recipe: Recipe, stages: Mapping[str, Path], checkpoint: Path, folder: Path, *, scores: Any
) -> None:
    """Write the card, the licence and, last, the sums of all files.

    Args:
        recipe: of the run.
        stages: folders of corpus, tokenizer and tokens, and of pretrain, done or not.
        checkpoint: whose weights are released.
        folder: of the release.
        scores: of these weights, `evaluate/scores.json`; None: there are none.

    Raises:
        TsumuguError: the licence's text is not where the recipe says.
    """
    counts = {
        name: read_json(stages[name] / MANIFEST)["counts"] for name in ("corpus", "tokenizer", "tokens")
    }
    trained = _trained(recipe, stages["pretrain"], checkpoint, counts)
    write_text(folder / CARD, model_card(recipe, counts, trained, scores))
    write_text(folder / LICENSE, _license(recipe.release))
    write_sums(folder)


def _license(release: ReleaseConfig) -> str:
    path = Path(release.license_file or Path(__file__).with_name(LICENSE_TEXTS.get(release.license, "")))
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TsumuguError(f"release.license_file: the license cannot be read: {error}") from error


def _trained(recipe: Recipe, pretrain: Path, checkpoint: Path, counts: Mapping[str, Any]) -> Trained:
    state, _ = read_state(checkpoint)
    vocab_size = counts["tokenizer"]["vocab_size"]
    with torch.device("meta"):
        model = Decoder(recipe.model, vocab_size)
    # Of a training that is not done, too.
    rows = [row for row in read_metrics(pretrain / "metrics.jsonl") if row["step"] <= state["step"]]
    done = read_json(pretrain / MANIFEST)["counts"] if (pretrain / MANIFEST).is_file() else None
    tokens = int(state["tokens"])
    return Trained(
        step=state["step"],
        tokens=tokens,
        parameters=count_parameters(model),
        flops=float(tokens) * flops_per_token(recipe.model, vocab_size, recipe.pretrain.sequence_length),
        seconds=rows[-1]["seconds"] if rows else None,
        epochs=done["epochs"] * tokens / done["tokens"] if done and done["tokens"] else None,
        hardware=_hardware(done) if done else None,
    )


def _hardware(done: Mapping[str, Any]) -> str:
    count = done["processes"]
    name = done.get("device_name", done["device"].upper())
    unit = "process" if done["device"] == "cpu" else "device"
    plural = {"process": "processes", "device": "devices"}
    return f"{name}, {count} {unit if count == 1 else plural[unit]} ({done['layout']})"
