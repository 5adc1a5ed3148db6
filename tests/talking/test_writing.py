"""Our decoder and transformers write the same; seeds, samples, ends and limits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import write_small_model
from talkers import write_talker
from tiny_tokenizers import byte_level

from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.release.stage import load_released
from tsumugu.talking.continuing import continuations, prompt_tokens
from tsumugu.talking.memory import NativeMemory, TransformersMemory, new_memory
from tsumugu.talking.sampling import Sampling
from tsumugu.talking.speaker import Speaker, chosen, open_speaker
from tsumugu.talking.writing import Piece, Settings, stream

OURS, THEIRS = ["gpt2", "gpt_neox", "llama"], ["mistral", "bloom"]
GREEDY = Settings(Sampling(temperature=0), max_new_tokens=24)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> dict[str, Path]:
    """A directory of each kind of model."""
    base = tmp_path_factory.mktemp("models")
    return {kind: write_small_model(base / kind, finished_run / "release", kind) for kind in OURS + THEIRS}


@pytest.fixture(scope="module")
def speakers(folders: dict[str, Path]) -> dict[str, Speaker]:
    """The same, opened."""
    return {kind: open_speaker(str(folder)) for kind, folder in folders.items()}


def write(speaker: Speaker, prompt: str, settings: Settings, *, samples: int = 1, memory: Any = None) -> Any:
    """Texts and last pieces of the samples."""
    texts, last = [""] * samples, [Piece(0, "")] * samples
    memory = memory or new_memory(speaker.subject.model)
    tokens = prompt_tokens(speaker, prompt)
    for piece in stream(memory, tokens, settings, voice=speaker.voice, samples=samples):
        texts[piece.sample] += piece.text
        last[piece.sample] = piece
    return texts, last


def greedy_by_transformers(folder: Path, tokens: list[int], *, penalty: float = 1.0) -> list[int]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = torch.tensor([tokens])
    found = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=GREEDY.max_new_tokens,
        repetition_penalty=penalty,
        pad_token_id=3,
    )
    ids: list[int] = found[0, len(tokens) :].tolist()
    return ids


@pytest.mark.parametrize("kind", OURS + THEIRS)
def test_greedy_text_is_that_of_transformers(
    folders: dict[str, Path], speakers: dict[str, Speaker], kind: str
) -> None:
    speaker = speakers[kind]
    memory = new_memory(speaker.subject.model)
    assert isinstance(memory, NativeMemory if kind in OURS else TransformersMemory)
    for prompt, penalty in (("昨日、港町で会った", 1.0), ("", 1.3)):
        settings = replace(GREEDY, sampling=Sampling(temperature=0, repetition_penalty=penalty))
        expected = greedy_by_transformers(folders[kind], prompt_tokens(speaker, prompt), penalty=penalty)
        _, (last,) = write(speaker, prompt, settings, memory=memory)
        assert list(last.tokens) == expected


def test_greedy_text_of_byte_level_vocabularies_is_that_of_transformers(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model", byte_level(tmp_path / "tokenizer"), "gpt2")
    speaker = open_speaker(str(folder))
    (text,), (last,) = write(speaker, "吾輩は", GREEDY)
    expected = greedy_by_transformers(folder, prompt_tokens(speaker, "吾輩は"))
    assert list(last.tokens) == expected
    assert text == speaker.subject.decode(expected)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_our_decoder_and_transformers_draw_alike(
    folders: dict[str, Path], speakers: dict[str, Speaker], kind: str
) -> None:
    settings = Settings(Sampling(temperature=0.8, top_p=0.9, top_k=30), max_new_tokens=16, seed=3)
    ours, theirs = speakers[kind], open_speaker(str(folders[kind]), native=False)
    assert write(ours, "昨日、", settings, samples=2)[0] == write(theirs, "昨日、", settings, samples=2)[0]


def by_transformers(folder: Path, prompt: str, *, seed: int, max_new_tokens: int) -> str:
    """With the settings of the directory, and the token that documents begin with."""
    model, tokenizer = load_released(folder)
    ids = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    torch.manual_seed(seed)
    inputs = torch.tensor([ids])
    found = model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=max_new_tokens)[0]
    return str(tokenizer.decode(found[len(ids) :], skip_special_tokens=True))


def test_a_release_writes_what_transformers_generate_writes(finished_run: Path) -> None:
    folder = finished_run / "release"
    speaker = open_speaker(str(folder))
    for seed in range(2):
        settings = replace(speaker.defaults, seed=seed, max_new_tokens=20)
        expected = by_transformers(folder, "昨日、", seed=seed, max_new_tokens=20)
        assert write(speaker, "昨日、", settings)[0] == [expected]
        assert continuations(str(folder), ["昨日、"], seed=seed, max_new_tokens=20) == [expected]


def test_a_raw_checkpoint_writes_what_its_release_writes(finished_run: Path) -> None:
    release = open_speaker(str(finished_run / "release"))
    newest = max((finished_run / "pretrain" / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    for place in (finished_run, newest):
        raw = open_speaker(str(place))
        assert raw.defaults == release.defaults
        settings = replace(raw.defaults, seed=1, max_new_tokens=25)
        assert write(raw, "昨日、", settings)[0] == write(release, "昨日、", settings)[0]
        # It was trained with fewer positions than it has.
        assert (raw.voice.max_length, release.voice.max_length) == (64, 128)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_a_sample_depends_on_the_seed_and_its_number_alone(speakers: dict[str, Speaker], kind: str) -> None:
    speaker = speakers[kind]
    settings = Settings(max_new_tokens=10, seed=5)
    three, _ = write(speaker, "昨日、", settings, samples=3)
    assert len({*three}) == 3
    assert write(speaker, "昨日、", settings)[0] == three[:1]
    assert write(speaker, "昨日、", replace(settings, seed=6))[0] == three[1:2]
    assert write(speaker, "昨日、", replace(settings, seed=-1))[0] != three[:1]


@pytest.mark.parametrize("kind", [*OURS, "mistral", "bloom"])
def test_what_was_read_is_not_read_again(
    speakers: dict[str, Speaker], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = speakers[kind]
    memory = new_memory(speaker.subject.model)
    widths: list[int] = []
    original = type(memory)._read  # type: ignore[attr-defined]

    def watched(self: Any, tokens: torch.Tensor) -> torch.Tensor:
        widths.append(tokens.shape[1])
        found: torch.Tensor = original(self, tokens)
        return found

    monkeypatch.setattr(type(memory), "_read", watched)
    draw = torch.Generator().manual_seed(0)
    text = torch.randint(7, 400, (60,), generator=draw).tolist()
    for tokens, read in (
        (text[:30], 30),
        (text[:50], 20),
        (text[:50], 1),
        ([*text[:20], 9, 9], 2),
        (text[:40], 20),
        ([8, *text], 61),
    ):
        widths.clear()
        logits = memory.read(tokens, room=3)
        assert widths == [read]
        torch.testing.assert_close(
            logits, new_memory(speaker.subject.model).read(tokens, room=1), rtol=1e-4, atol=1e-4
        )
        assert memory.known == tokens
    memory.spread(2)
    memory.step(torch.tensor([5, 6]))
    assert memory.known == []
    widths.clear()
    memory.read(text[:10], room=1)
    assert widths == [10]


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["gpt_neox", "mistral"])
def test_a_memory_survives_an_interruption(
    speakers: dict[str, Speaker], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = speakers[kind]
    memory = new_memory(speaker.subject.model)
    text = list(range(20, 50))
    memory.read(text[:20], room=5)
    memory.step(torch.tensor([33]))
    model: Any = speaker.subject.model
    last: Any = [*(model.decoder.layers.values() if kind == "gpt_neox" else model.model.model.layers)][-1]
    with monkeypatch.context() as patch:
        patch.setattr(last, "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            memory.step(torch.tensor([34]))
        with pytest.raises(KeyboardInterrupt):
            memory.read(text, room=5)
    found = memory.read(text, room=5)
    torch.testing.assert_close(
        found, new_memory(speaker.subject.model).read(text, room=1), rtol=1e-4, atol=1e-4
    )


def test_stop_texts_end_a_text_and_are_no_part_of_it(speakers: dict[str, Speaker]) -> None:
    speaker = speakers["llama"]
    (whole,), (last,) = write(speaker, "昨日、", GREEDY)
    assert last.ended == "length"
    stop = whole[6:9]
    (text,), (last,) = write(speaker, "昨日、", replace(GREEDY, stops=("そんな文はない", stop)))
    assert (text, last.ended) == (whole[: whole.index(stop)], "stop")


def test_a_text_ends_where_the_model_sees_no_further(speakers: dict[str, Speaker]) -> None:
    speaker = speakers["gpt2"]
    speaker = replace(speaker, voice=replace(speaker.voice, ends=frozenset()))
    prompt = len(prompt_tokens(speaker, "昨日、"))
    _, (last,) = write(speaker, "昨日、", replace(GREEDY, max_new_tokens=500))
    assert (last.ended, len(last.tokens)) == ("context", 160 - prompt)
    with pytest.raises(TsumuguError, match=r"the prompt has .* tokens, and the model sees only 160 at once"):
        write(speaker, "昨日、" * 100, GREEDY)


def test_an_end_token_ends_and_is_not_shown(speakers: dict[str, Speaker]) -> None:
    speaker = speakers["llama"]
    _, (last,) = write(speaker, "昨日、", GREEDY)
    ending = replace(speaker, voice=replace(speaker.voice, ends=frozenset({last.tokens[7]})))
    (text,), (ended,) = write(ending, "昨日、", GREEDY)
    first = last.tokens.index(last.tokens[7])
    assert ended.ended == "end"
    assert ended.tokens == last.tokens[: first + 1]
    assert "</s>" not in text


def test_a_directorys_settings_are_the_defaults_and_options_are_stronger(
    tmp_path: Path, finished_run: Path
) -> None:
    def defaults(name: str, settings: dict[str, object] | None) -> Settings:
        folder = write_talker(tmp_path / name, finished_run / "release", settings=settings)
        speaker = open_speaker(str(folder))
        assert speaker.voice.ends >= {2}
        return speaker.defaults

    said = {"do_sample": True, "temperature": 0.3, "top_k": 5, "max_new_tokens": 9, "eos_token_id": [2, 3]}
    found = defaults("said", said)
    assert found == Settings(Sampling(temperature=0.3, top_k=5), max_new_tokens=9)
    # As transformers has it.
    assert defaults("k", {"do_sample": True}).sampling == Sampling(top_k=50)
    greedy = defaults("greedy", {"do_sample": False, "temperature": 0.3})
    assert greedy.sampling.temperature == 0
    assert defaults("none", None).sampling == Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.1)
    with pytest.raises(TsumuguError, match=r"generation_config.json: top_p = 3"):
        defaults("wrong", {"do_sample": True, "top_p": 3})

    mine = chosen(found, {"top_k": None, "top_p": 0.5}, stops=("。",), seed=4)
    assert mine.sampling == Sampling(temperature=0.3, top_k=5, top_p=0.5)
    assert (mine.stops, mine.seed, mine.max_new_tokens) == (("。",), 4, 9)
    assert chosen(greedy, {"top_p": 0.5}, stops=(), seed=0).sampling.temperature == 1
    assert chosen(greedy, {"repetition_penalty": 1.5}, stops=(), seed=0).sampling.temperature == 0


def test_the_command_takes_prompts_from_everywhere(
    finished_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    five = ("--max-new-tokens", "5")
    typed = tmp_path / "typed.txt"
    typed.write_text("春になると\n港町で\n", encoding="utf-8")
    with typed.open(encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        arguments = [
            "generate",
            str(finished_run),
            "昨日、",
            "--max-new-tokens",
            "5",
            "-",
            "--prompt",
            "祖母",
        ]
        assert main([*arguments, "--json", "--samples", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["prompt"] for one in found["prompts"]] == ["昨日、", "春になると\n港町で", "祖母"]
    assert [len(one["samples"]) for one in found["prompts"]] == [2, 2, 2]
    assert found["settings"]["max_new_tokens"] == 5
    assert {sample["ended"] for one in found["prompts"] for sample in one["samples"]} <= {"length", "end"}

    assert main(["generate", str(finished_run), "昨日、", "--greedy", "--samples", "2", *five]) == 0
    shown = capsys.readouterr().out
    first, second = shown.split("--- 2 of 2\n")
    assert first.removeprefix("--- 1 of 2\n").rstrip() == second.rstrip()
    assert second.startswith("昨日、")


def test_models_text_cannot_command_the_terminal(
    finished_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [Piece(0, "\x1b[2J\t"), Piece(0, "\u202e\n", "length")]
    monkeypatch.setattr("tsumugu.talking.continuing.stream", lambda *_, **__: iter(pieces))
    assert main(["generate", str(finished_run), "あ\x1b"]) == 0
    assert capsys.readouterr().out == "あ⟨U+001B⟩⟨U+001B⟩[2J\t⟨U+202E⟩\n\n"


def test_mistakes_are_told(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in (
        (["/nowhere"], "there is no such folder"),
        ([str(tmp_path)], "no model is here"),
        ([str(finished_run), "昨日、" * 100], "Shorten it"),
        ([str(finished_run), "--top-p", "2"], "top_p = 2.0 is not"),
        ([str(finished_run), "--no-add-bos"], "an empty prompt"),
    ):
        assert main(["generate", *arguments]) == 1
        assert told in capsys.readouterr().err
