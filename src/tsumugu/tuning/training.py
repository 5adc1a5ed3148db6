"""TRL's trainers around a Hugging Face directory and our tokens and labels; nothing else is trained here.

Notable:

- the trainer gets finished rows with finished labels and does not prepare anything itself;
- the rows of all epochs lie before it in their order, so going on after a stop is a matter of counting;
- the loss is the mean over all learned tokens of a step, however they are spread over its rows;
- a phase leaves a whole folder or none, with the weights that it ends with (LoRA merged).

One process and one device: for more, take the model and the data to TRL under `accelerate launch`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import LoraConfig, PeftModel
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from tsumugu.errors import Stopped
from tsumugu.files import read_json, write_aside
from tsumugu.model.config import ModelConfig
from tsumugu.release.families import family_of
from tsumugu.release.loading import load_model
from tsumugu.training.device import pick_device, product_dtype
from tsumugu.tuning.config import PreferenceConfig, TuneConfig
from tsumugu.tuning.packing import Row, collate, epochs_of
from tsumugu.tuning.watching import Watcher, asked_to_stop, history, newest_checkpoint

ADAPTER = "adapter"


@dataclass(frozen=True)
class Phase:
    """One training: supervised, or by preferences."""

    name: str
    base: Path
    """The Hugging Face directory that it begins with."""
    output: Path
    """The folder that it leaves; with LoRA, `output/adapter` is what was learned."""
    work: Path
    """For checkpoints."""
    metrics: Path
    config: TuneConfig
    model: ModelConfig
    """What the recipe says of the model: which modules LoRA can take."""
    max_shard_size: str
    """Of a file of weights."""
    seed: int
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Preference:
    """Two answers to a prompt, as ids."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class _Resuming:
    """A trainer that goes on with the weights of a checkpoint, all of them.

    transformers writes GPT-NeoX's output matrix under the name that it has in files (`embed_out`), and its
    trainer looks for the one that it has in memory, warns, and goes on without it.
    """

    model: Any

    def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
        if isinstance(self.model, PeftModel):
            super()._load_from_checkpoint(checkpoint, model)  # type: ignore[misc]
        else:
            self.model.load_state_dict(load_model(Path(checkpoint)).state_dict())


class _Answers(_Resuming, SFTTrainer):  # type: ignore[misc]
    """TRL's."""


class _Preferences(_Resuming, DPOTrainer):  # type: ignore[misc]
    """TRL's, with prompts and answers that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *rest: Any) -> Dataset:
        return dataset


def tune(phase: Phase, rows: Sequence[Row], tokenizer: Any) -> list[dict[str, Any]]:
    """Supervised tuning on `rows`; return what `metrics.jsonl` says.

    Raises:
        Stopped: on SIGTERM, when a checkpoint is written.
    """
    model = load_model(phase.base)
    lora = _lora(phase) if phase.config.method == "lora" else None
    trainer = _Answers(
        model=model,
        args=SFTConfig(
            **_arguments(phase, len(rows)),
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=_in_order(phase, [asdict(row) for row in rows]),
        data_collator=partial(collate, pad_id=int(model.config.pad_token_id)),
        processing_class=tokenizer,
        peft_config=lora,
    )
    return _train(phase, trainer)


def prefer(
    phase: Phase, pairs: Sequence[Preference], tokenizer: Any, settings: PreferenceConfig
) -> list[dict[str, Any]]:
    """Direct preference optimisation on `pairs`, with the model of `phase.base` as its reference.

    Raises:
        Stopped: on SIGTERM, when a checkpoint is written.
    """
    lora = _lora(phase) if phase.config.method == "lora" else None
    trainer = _Preferences(
        model=load_model(phase.base),
        # With LoRA the model without its adapter is the reference.
        ref_model=None if lora else load_model(phase.base),
        args=DPOConfig(**_arguments(phase, len(pairs)), max_length=None, beta=settings.beta),
        train_dataset=_in_order(phase, [asdict(pair) for pair in pairs]),
        processing_class=tokenizer,
        peft_config=lora,
    )
    return _train(phase, trainer)


def target_modules(config: ModelConfig) -> list[str]:
    """All matrices of the layers, as transformers calls them in models of this family."""
    family = family_of(config)
    others = [name for ours, name in family.layer.items() if not ours.endswith("norm")]
    return [*family.qkv, *others]


def _lora(phase: Phase) -> LoraConfig:
    settings = phase.config.lora
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules or target_modules(phase.model)),
        # GPT-2's matrices of transformers are transposed.
        fan_in_fan_out=family_of(phase.model).transposed,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _in_order(phase: Phase, records: Sequence[Mapping[str, Any]]) -> Dataset:
    """The records of all epochs, as they are read."""
    disable_progress_bar()
    columns = {name: [record[name] for record in records] for name in records[0]}
    order = epochs_of(len(records), epochs=phase.epochs, seed=phase.seed)
    return Dataset.from_dict(columns).select(order)


def _arguments(phase: Phase, records: int) -> dict[str, Any]:
    """What both trainers are told."""
    config, device = phase.config, pick_device()
    steps = -(-records * phase.epochs // config.global_batch_size)
    schedules = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
    return {
        "output_dir": str(phase.work / "checkpoints"),
        "num_train_epochs": 1,
        "per_device_train_batch_size": config.micro_batch_size,
        "gradient_accumulation_steps": config.global_batch_size // config.micro_batch_size,
        "train_sampling_strategy": "sequential",
        "learning_rate": phase.learning_rate,
        "lr_scheduler_type": schedules[config.schedule],
        "warmup_steps": round(steps * config.warmup_ratio),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "bf16": product_dtype(config.precision, device) == torch.bfloat16,
        "activation_checkpointing": config.gradient_checkpointing,
        "seed": phase.seed,
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": device.type != "cpu",
        "remove_unused_columns": False,
        "save_steps": config.checkpoint_every,
        # The older one is whole while the newer one is being written.
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _train(phase: Phase, trainer: Any) -> list[dict[str, Any]]:
    trainer.remove_callback(PrinterCallback)
    with asked_to_stop() as asked:
        trainer.add_callback(Watcher(phase.name, phase.metrics, asked))
        trainer.train(resume_from_checkpoint=newest_checkpoint(phase.work / "checkpoints"))
        if asked.to_stop:
            raise Stopped(
                f"tune: stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; the "
                f"same command goes on from here"
            )
    with write_aside(phase.output) as folder:
        model = trainer.model
        if phase.config.method == "lora":
            # Where the base lies is nobody's business elsewhere.
            model.peft_config["default"].base_model_name_or_path = None
            model.save_pretrained(folder / ADAPTER)
            (folder / ADAPTER / "README.md").unlink(missing_ok=True)
            model = model.merge_and_unload()
        # Computed in float32, and kept as the weights that it began with are.
        dtype = getattr(torch, read_json(phase.base / "config.json").get("dtype") or "float32")
        model.to(dtype).save_pretrained(folder, max_shard_size=phase.max_shard_size)
    return history(trainer.state)
