"""A conversation as the tokens of a prompt: by the model's own chat template, or by LINE's form.

A chat template is a Jinja program from whoever made the model. transformers renders it, in Jinja's
immutable sandbox: it sees the messages and cannot reach Python, files or the machine. What people
write is text and nothing else: a message that shows `<|end|>` does not end its turn.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tsumugu.errors import TsumuguError
from tsumugu.talking.speaker import Speaker

Message = Mapping[str, str]
"""`role` (system, user or assistant) and `content`."""
TemplateName = Literal["model", "line"]
_LEFT, _RIGHT = "\ufdd0", "\ufdd1"
"""Noncharacters, which no text holds, around the number of a special token that a message shows."""


@dataclass(frozen=True)
class Template:
    """How a model is asked."""

    prompt: Callable[[Sequence[Message]], list[int]]
    """The tokens before the next answer. Raises `TsumuguError` where the template refuses the messages."""
    ends: frozenset[int]
    """Tokens that end an answer."""
    stops: tuple[str, ...]
    """Texts that end an answer."""


def open_template(speaker: Speaker, name: TemplateName) -> Template:
    """The template of a model.

    Raises:
        TsumuguError: the model has none.
    """
    return _line(speaker) if name == "line" else _own(speaker)


def _line(speaker: Speaker) -> Template:
    """That of line-corporation/japanese-large-lm-*-instruction-sft (model cards), turn after turn."""
    subject = speaker.subject
    names = {"user": "ユーザー: ", "assistant": "システム: "}

    def prompt(messages: Sequence[Message]) -> list[int]:
        # It has no name for a system prompt, which therefore stands in front.
        lines = [names.get(message["role"], "") + message["content"] + "\n" for message in messages]
        return [*subject.prompt_start, *subject.encode("".join(lines) + names["assistant"])]

    return Template(prompt, frozenset(), ("\nユーザー:",))


def _own(speaker: Speaker) -> Template:
    from transformers import AutoTokenizer

    subject = speaker.subject
    assert subject.folder is not None
    try:
        tokenizer = AutoTokenizer.from_pretrained(subject.folder, trust_remote_code=speaker.trust_remote_code)
        template = tokenizer.get_chat_template() if tokenizer.chat_template else None
    except Exception as error:
        # Whatever a library finds wrong with files that it did not write.
        raise TsumuguError(
            f"{subject.name}: its chat template cannot be opened: {_one_line(error)}"
        ) from error
    if template is None:
        raise TsumuguError(
            f"{subject.name} has no chat template (chat_template.jinja, or chat_template in "
            f"tokenizer_config.json): it is a model that continues texts. Use tsumugu generate, or talk "
            f"to it in LINE's form: --template line"
        )
    special = {
        str(token): index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.special or str(token) in tokenizer.all_special_tokens
    }

    def render(messages: Sequence[Message], *, answer: bool) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    [dict(message) for message in messages], tokenize=False, add_generation_prompt=answer
                )
            )
        except Exception as error:
            # Templates raise what they like, and the sandbox its own errors.
            raise TsumuguError(f"the chat template refuses this: {_one_line(error)}") from error

    def prompt(messages: Sequence[Message]) -> list[int]:
        guarded = [{**message, "content": _guard(message["content"], special)} for message in messages]
        text = render(guarded, answer=True)
        if _LEFT not in text:
            return _encode(tokenizer, text)
        return _encode_guarded(tokenizer, text, special)

    return Template(prompt, _after_answer(render, special), ())


def _encode(tokenizer: Any, text: str, *, special: bool = True) -> list[int]:
    """Ids of a text in which special tokens are found, or are text as any other."""
    found = tokenizer(text, add_special_tokens=False, split_special_tokens=not special, verbose=False)
    return list(found["input_ids"])


def _pattern(special: Mapping[str, int]) -> re.Pattern[str]:
    # Longer ones first; a pattern that never matches where there are none.
    return re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")


def _guard(content: str, special: Mapping[str, int]) -> str:
    """A message in which special tokens are not spelled, but numbered between noncharacters."""
    return _pattern(special).sub(lambda found: f"{_LEFT}{special[found.group()]}{_RIGHT}", content)


def _encode_guarded(tokenizer: Any, text: str, special: Mapping[str, int]) -> list[int]:
    """Special tokens of the template are tokens, and those of messages text."""
    names = {index: token for token, index in special.items()}
    ids: list[int] = []
    end = 0
    for found in [*_pattern(special).finditer(text), None]:
        plain = text[end : len(text) if found is None else found.start()]
        plain = re.sub(f"{_LEFT}([0-9]+){_RIGHT}", lambda one: names[int(one[1])], plain)
        if plain:
            ids += _encode(tokenizer, plain, special=False)
        if found is not None:
            ids.append(special[found.group()])
            end = found.end()
    return ids


def _after_answer(render: Callable[..., str], special: Mapping[str, int]) -> frozenset[int]:
    """The special token that the template writes behind an answer: a model that was trained with it ends
    its answers so, whether or not its generation settings say that."""
    mark = "\ufdd2"
    try:
        text = render(
            [{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}], answer=False
        )
    except TsumuguError:
        return frozenset()
    found = _pattern(special).match(text.partition(mark)[2].lstrip())
    return frozenset() if found is None else frozenset({special[found.group()]})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
