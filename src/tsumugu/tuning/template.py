"""Conversations to token ids, with a mark on every token that is learned.

Two ways to write a conversation, each once as parts in Python and once as a Jinja chat template, which
goes with the tokenizer, so that everybody's `apply_chat_template` writes the same:

- `line`: LINE's, as published for japanese-large-lm-instruction-sft: `ユーザー: {question}\nシステム: `, no
  `<s>` in front. It has one turn; further turns follow directly behind the `</s>` of the answer, and a
  system message stands on the lines before the first turn. Both are our extension.
- `modern`: `<s>`, and a mark before every turn. With the chat tokens of the vocabulary:
  `<|user|>{question}<|assistant|>{answer}<|end|>`. Without them the marks are plain text on lines of their
  own: `<|user|>\n{question}\n<|assistant|>\n{answer}</s>`.

Learned are the words of the assistant and the token that ends them, nothing else. The text up to an
answer and the answer are encoded apart: what the model has in front of it in training is to the token
what `apply_chat_template(add_generation_prompt=True)` gives it later. Contents are text and never become
special tokens, even where they spell them. The white space around a content is cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from tsumugu.files import read_json, write_json, write_text
from tsumugu.tuning.config import TemplateName

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_CHAT = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_GENERATION = ("{% generation %}", "{% endgeneration %}")


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    content: str


@dataclass(frozen=True)
class Encoded:
    """A conversation as the model reads it."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    """For every token whether the model learns to write it."""

    @property
    def labels(self) -> list[int]:
        """The ids that are learned, and -100 elsewhere; a first token has nothing it could follow from."""
        pairs = zip(self.ids, self.learned, strict=True)
        return [id_ if learned and place else -100 for place, (id_, learned) in enumerate(pairs)]


@dataclass(frozen=True)
class _Part:
    text: str
    special: bool = False
    learned: bool = False


@dataclass(frozen=True)
class Template:
    """A way to write conversations with one tokenizer."""

    name: TemplateName
    chat_tokens: bool
    """Whether the marks of `modern` are tokens."""
    begin: str | None
    """`<s>`, where the template begins with it and the tokenizer has it."""
    end: str
    """The token that ends an answer."""
    jinja: str
    """The same as a chat template."""


def open_template(name: TemplateName, tokenizer: Any) -> Template:
    """The template for a tokenizer of transformers."""
    begin, eos = tokenizer.bos_token, str(tokenizer.eos_token)
    if name == "line":
        return Template(name, False, None, eos, _line_jinja())
    chat_tokens = set(_CHAT) <= set(tokenizer.get_vocab())
    end = "<|end|>" if chat_tokens else eos
    return Template(name, chat_tokens, begin, end, _modern_jinja(begin, end, chat_tokens))


def encode(template: Template, messages: Sequence[Message], tokenizer: Any) -> Encoded:
    """A whole conversation, with what is learned of it."""
    return _encode(_parts(template, messages), tokenizer)


def encode_prompt(template: Template, messages: Sequence[Message], tokenizer: Any) -> list[int]:
    """A conversation that ends with the user's words, up to where the assistant's would begin."""
    return list(_encode([*_parts(template, messages), *_opening(template)], tokenizer).ids)


def encode_answer(template: Template, content: str, tokenizer: Any) -> list[int]:
    """What is learned of one answer."""
    parts = [_Part(content.strip(), learned=True), _Part(template.end, special=True, learned=True)]
    return list(_encode(parts, tokenizer).ids)


def stop_ids(template: Template, tokenizer: Any) -> list[int]:
    """The tokens at which generation ends: that of the template, and the end of a text."""
    found = [tokenizer.convert_tokens_to_ids(template.end), tokenizer.eos_token_id]
    return list(dict.fromkeys(int(id_) for id_ in found))


def store_template(template: Template, base: Path, folder: Path) -> None:
    """Write into `folder` how the tokenizer of `base` is set and how it writes conversations."""
    settings = read_json(base / "tokenizer_config.json")
    # A chat template is text in which the tokenizer must find the marks and `</s>`.
    write_json(folder / "tokenizer_config.json", {**settings, "split_special_tokens": False})
    write_text(folder / "chat_template.jinja", template.jinja)


def plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    """As `apply_chat_template` wants them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _parts(template: Template, messages: Sequence[Message]) -> list[_Part]:
    parts = [_Part(template.begin, special=True)] if template.begin else []
    for message in messages:
        content = message.content.strip()
        if message.role == "assistant":
            parts += [*_opening(template), _Part(content, learned=True)]
            parts.append(_Part(template.end, special=True, learned=True))
        elif template.name == "line":
            parts.append(_Part(f"ユーザー: {content}\n" if message.role == "user" else f"{content}\n"))
        elif template.chat_tokens:
            parts += [_Part(f"<|{message.role}|>", special=True), _Part(content)]
        else:
            parts.append(_Part(f"<|{message.role}|>\n{content}\n"))
    return parts


def _opening(template: Template) -> list[_Part]:
    """What stands before the assistant's words."""
    if template.name == "line":
        return [_Part("システム: ")]
    return [_Part("<|assistant|>", special=True) if template.chat_tokens else _Part("<|assistant|>\n")]


def _encode(parts: Sequence[_Part], tokenizer: Any) -> Encoded:
    ids: list[int] = []
    learned: list[bool] = []
    for (special, is_learned), group in groupby(parts, key=lambda part: (part.special, part.learned)):
        texts = [part.text for part in group]
        if special:
            found = [int(tokenizer.convert_tokens_to_ids(text)) for text in texts]
        else:
            # What a content spells stays text: no question can end an answer.
            encoded = tokenizer(
                "".join(texts), add_special_tokens=False, split_special_tokens=True, verbose=False
            )
            found = list(encoded["input_ids"])
        ids += found
        learned += [is_learned] * len(found)
    return Encoded(tuple(ids), tuple(learned))


def _line_jinja() -> str:
    start, stop = _GENERATION
    return (
        "{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}"
        "{{ 'システム: ' }}" + start + "{{ message['content'] | trim }}{{ eos_token }}" + stop + ""
        "{% elif message['role'] == 'user' %}"
        "{{ 'ユーザー: ' + message['content'] | trim + '\\n' }}"
        "{% else %}"
        "{{ message['content'] | trim + '\\n' }}"
        "{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ 'システム: ' }}{% endif %}"
    )


def _modern_jinja(begin: str | None, end: str, chat_tokens: bool) -> str:
    start, stop = _GENERATION
    line = "" if chat_tokens else "\\n"
    return (
        ("{{ bos_token }}" if begin else "") + "{% for message in messages %}"
        "{{ '<|' + message['role'] + '|>" + line + "' }}"
        "{% if message['role'] == 'assistant' %}"
        + start
        + "{{ message['content'] | trim }}"
        + ("{{ '" + end + "' }}" if chat_tokens else "{{ eos_token }}")
        + stop
        + "{% else %}{{ message['content'] | trim"
        + ("" if chat_tokens else " + '\\n'")
        + " }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>" + line + "' }}{% endif %}"
    )
