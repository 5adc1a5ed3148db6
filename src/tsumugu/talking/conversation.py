"""A conversation: who said what, and how much of it the model is shown.

When the model's context is full, the oldest turns are left out of the prompt, for good, so that the
prompt only grows from then on and what was read of it need not be read again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tsumugu.errors import TsumuguError
from tsumugu.talking.memory import Memory
from tsumugu.talking.speaker import Speaker
from tsumugu.talking.templates import Message, Template
from tsumugu.talking.writing import Piece, Settings, stream


@dataclass
class Turn:
    """A question and its answer, which grows while it is written."""

    user: str
    assistant: str = ""


@dataclass
class Conversation:
    """What was said."""

    system: str = ""
    turns: list[Turn] = field(default_factory=list)
    left_out: int = 0
    """Turns at the beginning that the model is not shown any more."""

    def messages(self) -> list[dict[str, str]]:
        """All of it."""
        return self._messages(self.turns, answered=True)

    def shown(self) -> list[dict[str, str]]:
        """What the model is shown, up to the newest question."""
        return self._messages(self.turns[self.left_out :], answered=False)

    def undo(self) -> bool:
        """Take back the newest turn; whether there was one."""
        if not self.turns:
            return False
        self.turns.pop()
        self.left_out = min(self.left_out, len(self.turns))
        return True

    def reset(self) -> None:
        """Forget all turns."""
        self.turns, self.left_out = [], 0

    def _messages(self, turns: list[Turn], *, answered: bool) -> list[dict[str, str]]:
        found = [{"role": "system", "content": self.system}] if self.system else []
        for turn in turns:
            found.append({"role": "user", "content": turn.user})
            if answered or turn is not turns[-1]:
                found.append({"role": "assistant", "content": turn.assistant})
        return found


def ask(
    conversation: Conversation,
    question: str,
    *,
    speaker: Speaker,
    template: Template,
    memory: Memory,
    settings: Settings,
    told: Callable[[int], None],
) -> Iterator[Piece]:
    """Put a question; the answer, piece by piece.

    What has been written is in the conversation when its piece is given, so that an answer that is
    stopped stays as far as it was seen.

    Args:
        conversation: a turn longer afterwards.
        question: what is asked.
        speaker: who answers.
        template: how it is asked.
        memory: of the model; used for this conversation only.
        settings: how the answer is written.
        told: how many turns have been left out to make room, if any.

    Raises:
        TsumuguError: the question alone is too long, or the template refuses it; the conversation is
            what it was before.
    """
    turn = Turn(question)
    left_out = conversation.left_out
    conversation.turns.append(turn)
    try:
        prompt = _fit(conversation, template.prompt, speaker.voice.max_length, settings.max_new_tokens)
    except TsumuguError:
        conversation.turns.pop()
        conversation.left_out = left_out
        raise
    if conversation.left_out > left_out:
        told(conversation.left_out)
    voice = replace(speaker.voice, ends=speaker.voice.ends | template.ends)
    settings = replace(settings, stops=(*settings.stops, *template.stops))
    for piece in stream(memory, prompt, settings, voice=voice):
        turn.assistant += piece.text
        yield piece


def _fit(
    conversation: Conversation,
    prompt: Callable[[list[Message]], list[int]],
    max_length: int,
    max_new_tokens: int,
) -> list[int]:
    """The prompt, with the oldest turns left out until an answer has room."""
    # An answer as long as it may be, but no more than half of all.
    room = min(max_new_tokens, max_length // 2)
    while True:
        tokens = prompt([*conversation.shown()])
        alone = conversation.left_out == len(conversation.turns) - 1
        if len(tokens) + room <= max_length or (alone and len(tokens) < max_length):
            return tokens
        if alone:
            raise TsumuguError(
                f"this question makes a prompt of {len(tokens):,} tokens, and the model sees only "
                f"{max_length:,} at once. Shorten it"
            )
        conversation.left_out += 1
