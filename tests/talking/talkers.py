"""Models to talk to: small and random, with a chat template if wanted."""

from pathlib import Path

from small_models import write_small_model

from tsumugu.files import write_json, write_text

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<sep>{{ message.role }}\n{{ message.content | trim }}<mask>\n"
    "{% endfor %}{% if add_generation_prompt %}<sep>assistant\n{% endif %}"
)
"""Special tokens of the tests' tokenizer in the roles that others have in conversations."""


def write_talker(
    folder: Path,
    tokenizer: Path,
    model_type: str = "llama",
    *,
    template: str | None = TEMPLATE,
    positions: int = 160,
    seed: int = 0,
    settings: dict[str, object] | None = None,
) -> Path:
    """A Hugging Face directory, as `write_small_model` makes it."""
    write_small_model(folder, tokenizer, model_type, positions=positions, seed=seed)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if settings is not None:
        write_json(folder / "generation_config.json", settings)
    if template is not None:
        write_text(folder / "chat_template.jinja", template)
    return folder
