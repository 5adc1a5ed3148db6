"""TRL's trainers around a Hugging Face directory and our tokens and labels; nothing else is trained here.

Notable:

- the trainer gets finished rows with finished labels and does not prepare anything itself;
- the rows of all epochs lie before it in their order, so going on after a stop is a matter of counting;
- the loss is the mean over all learned tokens of a step, however they are spread over its rows;
- a phase leaves a whole folder or none, with the weights that it ends with (LoRA merged).

With `processes` the same happens in as many processes (`together.py`), which deal the rows among them.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
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
from tsumugu.tuning.config import PreferenceConfig
from tsumugu.tuning.packing import Row, collate, epochs_of, unlearned
from tsumugu.tuning.phase import Phase, Preference
from tsumugu.tuning.together import train_together
from tsumugu.tuning.watching import Asked, Watcher, asked_to_stop, history, newest_checkpoint, read_history

ADAPTER = "adapter"


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


def tune(
    phase: Phase, rows: Sequence[Row], tokenizer: Any, *, asked: Asked | None = None
) -> list[dict[str, Any]]:
    """Supervised tuning on `rows`; return what `metrics.jsonl` says.

    Args:
        phase: the training.
        rows: what is learned.
        tokenizer: of transformers.
        asked: of one of several processes; whoever has none starts them, if there are to be several.

    Raises:
        Stopped: on SIGTERM, when a checkpoint is written.
    """
    if asked is None and phase.config.processes > 1:
        train_together(phase, rows, tokenizer)
        return read_history(phase.metrics)
    model = load_model(phase.base)
    lora = _lora(phase) if phase.config.method == "lora" else None
    trainer = _Answers(
        model=model,
        args=SFTConfig(
            **_arguments(phase, len(rows)),
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=_in_order(phase, [asdict(row) for row in rows], filler=asdict(unlearned(rows[0]))),
        data_collator=partial(collate, pad_id=int(model.config.pad_token_id)),
        processing_class=tokenizer,
        peft_config=lora,
    )
    return _train(phase, trainer, asked)


def prefer(
    phase: Phase,
    pairs: Sequence[Preference],
    tokenizer: Any,
    settings: PreferenceConfig,
    *,
    asked: Asked | None = None,
) -> list[dict[str, Any]]:
    """Direct preference optimisation on `pairs`, with the model of `phase.base` as its reference.

    Several processes fill their last step up with pairs from the beginning.

    Raises:
        Stopped: on SIGTERM, when a checkpoint is written.
    """
    if asked is None and phase.config.processes > 1:
        train_together(phase, pairs, tokenizer, settings)
        return read_history(phase.metrics)
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
    return _train(phase, trainer, asked)


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


def _in_order(
    phase: Phase, records: Sequence[Mapping[str, Any]], *, filler: Mapping[str, Any] | None = None
) -> Dataset:
    """The records of all epochs, as they are read.

    Several processes take as many batches each: a `filler`, of which nothing is learned, makes up for what
    is missing in the end.
    """
    disable_progress_bar()
    order = epochs_of(len(records), epochs=phase.epochs, seed=phase.seed)
    if filler is not None and phase.config.processes > 1:
        order += [len(records)] * (-len(order) % (phase.config.micro_batch_size * phase.config.processes))
        records = [*records, filler]
    columns = {name: [record[name] for record in records] for name in records[0]}
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
        "gradient_accumulation_steps": config.global_batch_size
        // (config.micro_batch_size * config.processes),
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
        "ddp_backend": "gloo" if device.type == "cpu" and config.processes > 1 else None,
        "ddp_find_unused_parameters": False if config.processes > 1 else None,
        "dataloader_pin_memory": device.type != "cpu",
        "remove_unused_columns": False,
        "save_steps": config.checkpoint_every,
        # The older one is whole while the newer one is being written.
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _train(phase: Phase, trainer: Any, asked: Asked | None) -> list[dict[str, Any]]:
    trainer.remove_callback(PrinterCallback)
    first = trainer.is_world_process_zero()
    with asked_to_stop() if asked is None else nullcontext(asked) as asked:
        trainer.add_callback(Watcher(phase.name, phase.metrics if first else None, asked))
        trainer.train(resume_from_checkpoint=newest_checkpoint(phase.work / "checkpoints"))
        if asked.to_stop:
            raise Stopped(
                f"tune: stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; the "
                f"same command goes on from here"
            )
    if not first:
        return history(trainer.state)
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
