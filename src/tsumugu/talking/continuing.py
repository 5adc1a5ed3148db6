"""`tsumugu generate`: prompts, and what a model writes after them."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tsumugu.errors import TsumuguError
from tsumugu.questions import Options
from tsumugu.talking.memory import new_memory
from tsumugu.talking.showing import show_samples
from tsumugu.talking.speaker import Speaker, chosen, open_speaker
from tsumugu.talking.writing import Reason, Settings, stream

STDIN = "-"


@dataclass(frozen=True)
class Sample:
    """One continuation."""

    text: str
    ended: Reason
    tokens: int


def generate(options: Options) -> None:
    """Answer the command line."""
    speaker = open_speaker(options.model, trust_remote_code=options.trust_remote_code)
    settings = settings_of(options, speaker.defaults)
    prompts = [_read_stdin() if prompt == STDIN else clean(prompt) for prompt in options.prompts] or [""]
    found = []
    for number, prompt in enumerate(prompts):
        tokens = prompt_tokens(speaker, prompt, begin=options.add_bos)
        pieces = stream(
            new_memory(speaker.subject.model),
            tokens,
            settings,
            voice=speaker.voice,
            samples=options.samples,
        )
        if options.json:
            samples = ["" for _ in range(options.samples)]
            ended: dict[int, Sample] = {}
            for piece in pieces:
                samples[piece.sample] += piece.text
                if piece.ended:
                    ended[piece.sample] = Sample(samples[piece.sample], piece.ended, len(piece.tokens))
            found.append(
                {
                    "prompt": prompt,
                    "prompt_tokens": len(tokens),
                    "samples": [asdict(ended[sample]) for sample in sorted(ended)],
                }
            )
            continue
        if number:
            print()
        show_samples(pieces, prompt=prompt, samples=options.samples, max_length=speaker.voice.max_length)
    if options.json:
        from tsumugu.terminal import to_json

        print(to_json({"model": options.model, "settings": _described(settings), "prompts": found}))


def continuations(place: str, prompts: Sequence[str], *, seed: int, max_new_tokens: int) -> list[str]:
    """What the model at a place writes after each prompt, with its own settings; one seed, one text.

    Raises:
        TsumuguError: there is no such model, or a prompt leaves no room.
    """
    speaker = open_speaker(place)
    settings = chosen(speaker.defaults, {"max_new_tokens": max_new_tokens}, stops=(), seed=seed)
    memory = new_memory(speaker.subject.model)
    return [
        "".join(
            piece.text
            for piece in stream(memory, prompt_tokens(speaker, prompt), settings, voice=speaker.voice)
        )
        for prompt in prompts
    ]


def prompt_tokens(speaker: Speaker, prompt: str, *, begin: bool | None = None) -> list[int]:
    """The tokens of a text that is to be continued.

    Args:
        speaker: whose tokens.
        prompt: the text; may be empty.
        begin: whether `<s>` stands in front. A document begins with it, or after another's end; so does
            what a model is asked to write, unless this is False.

    Raises:
        TsumuguError: nothing would stand before the first token that is written.
    """
    start = [] if begin is False else [speaker.subject.text_start]
    tokens = [*start, *speaker.subject.encode(prompt)]
    if not tokens:
        raise TsumuguError("an empty prompt needs a token to begin with; leave --no-add-bos away")
    return tokens


def settings_of(options: Options, defaults: Settings) -> Settings:
    """The settings that the command line asks for."""
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens")
    given = {name: getattr(options, name) for name in names}
    if options.greedy:
        given["temperature"] = 0
    return chosen(defaults, given, stops=tuple(options.stop), seed=options.seed)


def clean(text: str) -> str:
    """Text from a command line or a pipe; bytes that are no UTF-8 become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _read_stdin() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")


def _described(settings: Settings) -> dict[str, Any]:
    found = asdict(settings)
    return {**found.pop("sampling"), **found}
