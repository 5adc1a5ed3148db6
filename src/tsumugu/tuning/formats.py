"""What a record says: one function for each form of instruction data, from an object to messages.

Each raises `Malformed` with the reason when the record is not what its form asks for. A conversation
is a system message or none, then the user and the assistant in turn; the assistant has the last word.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tsumugu.tuning.config import Format
from tsumugu.tuning.template import ROLES, Message

_USER, _ASSISTANT = "ユーザー:", "システム:"


class Malformed(Exception):
    """A record that cannot be used, and why."""


def read_messages(record: Mapping[str, Any]) -> tuple[Message, ...]:
    """`{"messages": [{"role": ..., "content": ...}, ...]}`"""
    return checked(_messages(record.get("messages"), "messages"), ends_with="assistant")


def read_alpaca(record: Mapping[str, Any]) -> tuple[Message, ...]:
    """`{"instruction": ..., "input": ..., "output": ...}`; an input stands below the instruction."""
    instruction, output = _text(record, "instruction"), _text(record, "output")
    more = record.get("input")
    if more is not None and not isinstance(more, str):
        raise Malformed("'input' must be text")
    question = f"{instruction}\n{more.strip()}" if more and more.strip() else instruction
    return checked((Message("user", question), Message("assistant", output)), ends_with="assistant")


def read_line(record: Mapping[str, Any]) -> tuple[Message, ...]:
    """`{"input": ..., "output": ...}`, or `{"text": "ユーザー: ...\\nシステム: ..."}`."""
    if "text" not in record:
        question, answer = _text(record, "input"), _text(record, "output")
        return checked((Message("user", question), Message("assistant", answer)), ends_with="assistant")
    text = _text(record, "text")
    question, found, answer = text.partition(f"\n{_ASSISTANT}")
    if not text.startswith(_USER) or not found:
        raise Malformed(f"'text' is not of the form {_USER} ...\\n{_ASSISTANT} ...")
    turns = (Message("user", question.removeprefix(_USER).strip()), Message("assistant", answer.strip()))
    return checked(turns, ends_with="assistant")


def read_preference(record: Mapping[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """`{"prompt": text or messages, "chosen": text, "rejected": text}`: the prompt and both answers."""
    prompt = record.get("prompt")
    turns = (Message("user", prompt.strip()),) if isinstance(prompt, str) else _messages(prompt, "prompt")
    chosen, rejected = _text(record, "chosen"), _text(record, "rejected")
    if chosen == rejected:
        raise Malformed("'chosen' and 'rejected' are the same")
    return checked(turns, ends_with="user"), chosen, rejected


READERS: Mapping[Format, Callable[[Mapping[str, Any]], tuple[Message, ...]]] = {
    "messages": read_messages,
    "alpaca": read_alpaca,
    "line": read_line,
}


def checked(messages: tuple[Message, ...], *, ends_with: str) -> tuple[Message, ...]:
    """The messages, if they are a conversation.

    Raises:
        Malformed: they are not.
    """
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    for place, message in enumerate(messages):
        if not message.content.strip():
            raise Malformed(f"message {place + 1} ({message.role}) is empty")
        try:
            message.content.encode()
        except UnicodeEncodeError:
            raise Malformed(f"message {place + 1} holds half of a surrogate pair") from None
    for place, message in enumerate(turns):
        wanted = "user" if place % 2 == 0 else "assistant"
        if message.role != wanted:
            raise Malformed(f"turn {place + 1} is by the {message.role}, not by the {wanted}")
    if not turns or turns[-1].role != ends_with:
        raise Malformed(f"the {ends_with} does not have the last word")
    return messages


def _messages(value: Any, key: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise Malformed(f"{key!r} is not a list of messages")
    found = []
    for place, message in enumerate(value, start=1):
        if not isinstance(message, dict):
            raise Malformed(f"message {place} is not an object")
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise Malformed(f"message {place} is by {str(role)[:40]!r}; known are {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise Malformed(f"message {place} has no 'content' that is text")
        found.append(Message(role, content.strip()))
    return tuple(found)


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise Malformed(f"it has no {key!r} that is text")
    if not value.strip():
        raise Malformed(f"{key!r} is empty")
    return value.strip()
