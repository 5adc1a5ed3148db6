"""`tsumugu chat`: a conversation in the terminal, or from a pipe, where each line is a turn."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tsumugu.errors import TsumuguError
from tsumugu.files import write_json
from tsumugu.questions import Options
from tsumugu.talking.continuing import clean, settings_of
from tsumugu.talking.conversation import Conversation, ask
from tsumugu.talking.memory import new_memory
from tsumugu.talking.showing import note, note_end, show
from tsumugu.talking.speaker import open_speaker
from tsumugu.talking.templates import open_template

_HELP = """\
/reset        forget everything that was said
/system TEXT  another system prompt, from the next answer on; without TEXT: none
/undo         take back the last question and its answer
/save FILE    write the conversation as JSON
/help         this
/quit         end (so do Ctrl-D, and Ctrl-C while nothing is written)
Ctrl-C stops an answer. A message that is to begin with / gets a space in front."""


def chat(options: Options) -> None:
    """Answer the command line."""
    speaker = open_speaker(options.model, trust_remote_code=options.trust_remote_code)
    template = open_template(speaker, options.template)
    settings = settings_of(options, speaker.defaults)
    memory = new_memory(speaker.subject.model)
    conversation = Conversation(system=clean(options.system))
    read = _reader(options.model)
    answers = 0
    while (line := read()) is not None:
        line = clean(line)
        if line.startswith("/"):
            if not _command(line, conversation, options.model):
                return
            continue
        if not line.strip():
            continue
        # Another seed for every answer: the same question need not have the same one.
        pieces = ask(
            conversation,
            line.removeprefix(" ") if line.startswith(" /") else line,
            speaker=speaker,
            template=template,
            memory=memory,
            settings=replace(settings, seed=settings.seed + answers),
            told=lambda turns: note(
                f"the model's context is full: the first {turns} turns are left out from now on"
                if turns > 1
                else "the model's context is full: the first turn is left out from now on"
            ),
        )
        answers += 1
        try:
            begun = False
            for piece in pieces:
                # Many models begin an answer with a space.
                text = piece.text if begun else piece.text.lstrip()
                begun = begun or bool(text)
                show(text)
                if piece.ended:
                    show("\n")
                    note_end(piece.ended, speaker.voice.max_length)
        except KeyboardInterrupt:
            show("\n")
            note("stopped")
        except TsumuguError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)


def _reader(model: str) -> Callable[[], str | None]:
    """How the next message is read; None at the end."""
    if not sys.stdin.isatty():
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]

        def next_line() -> str | None:
            try:
                line = sys.stdin.readline()
            except KeyboardInterrupt:
                return None
            return line.rstrip("\r\n") if line else None

        return next_line

    # Arrow keys and history in `input`.
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
    note(f"{model}; /help tells what else can be typed")

    def ask_person() -> str | None:
        try:
            return input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return None

    return ask_person


def _command(line: str, conversation: Conversation, model: str) -> bool:
    """Obey a command; whether to go on."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name == "/quit":
        return False
    if name == "/reset":
        conversation.reset()
        note("everything is forgotten")
    elif name == "/system":
        conversation.system = rest
        note("the system prompt is another now" if rest else "there is no system prompt now")
    elif name == "/undo":
        note("the last turn is taken back" if conversation.undo() else "there is nothing to take back")
    elif name == "/save":
        _save(rest, conversation, model)
    elif name == "/help":
        print(_HELP, flush=True)
    else:
        note(f"there is no command {name}; /help tells which there are")
    return True


def _save(name: str, conversation: Conversation, model: str) -> None:
    if not name:
        note("where to? /save FILE")
        return
    try:
        write_json(Path(name).expanduser(), {"model": model, "messages": conversation.messages()})
    except OSError as error:
        # A wrong name must not end the conversation that was to be saved.
        note(f"not saved: {error}")
    else:
        note(f"saved in {name}")
