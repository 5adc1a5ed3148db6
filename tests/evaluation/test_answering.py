"""Our answers are those of the harness's own `hf` model, computed in another order."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_models import write_small_model

from conftest import japanese_text
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.answering import EMPTY, TRUNCATED, TsumuguLM
from tsumugu.evaluation.answers import AnswerFile
from tsumugu.evaluation.language_model import NativeModel
from tsumugu.evaluation.subject import open_subject

KINDS = ["gpt2", "gpt_neox", "llama", "mistral", "bloom"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> dict[str, Path]:
    """A directory of each kind of model."""
    base = tmp_path_factory.mktemp("models")
    return {kind: write_small_model(base / kind, finished_run / "release", kind) for kind in KINDS}


def reference(folder: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(str(folder), device="cpu", dtype="float32", batch_size=4)


def ask(*arguments: Any) -> Any:
    """A request of the harness."""
    return SimpleNamespace(args=arguments, task_name="test", arguments=arguments)


def choices() -> list[Any]:
    """Questions with shared contexts, answers of one token and of many, no context, too long a context."""
    requests = []
    for number in range(12):
        context = japanese_text(number, 1)[: 20 + 5 * number] + random.Random(number).choice(["", " ", "\n"])
        for answer in ("は", "港町で会った", "を見た。", " 北の図書館"):
            requests.append(ask(context, answer))
    requests += [ask("", "春になると港町で"), ask("", "春")]
    requests += [ask(japanese_text(99, 4), answer) for answer in ("手紙", "古い地図を見せてくれた")]
    return requests


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_those_of_the_harness(folders: dict[str, Path], kind: str) -> None:
    requests = choices()
    expected = reference(folders[kind]).loglikelihood(requests, disable_tqdm=True)
    model = TsumuguLM(open_subject(str(folders[kind])), batch_size=5)
    found = model.loglikelihood(requests)
    for one, other in zip(found, expected, strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-4)
        assert one[1] == other[1]
    assert model.unusual[TRUNCATED]["test"] == 2


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_transformers_computes_what_our_decoder_does(folders: dict[str, Path], kind: str) -> None:
    requests = choices()
    ours = open_subject(str(folders[kind]))
    theirs = open_subject(str(folders[kind]), native=False)
    assert ours.facts["computed_by"] == "tsumugu"
    assert theirs.facts["computed_by"] == "transformers"
    assert theirs.model.shares_contexts
    one = TsumuguLM(ours, batch_size=3).loglikelihood(requests)
    other = TsumuguLM(theirs, batch_size=7).loglikelihood(requests)
    assert [a[0] for a in one] == pytest.approx([b[0] for b in other], abs=1e-4)


def test_a_model_that_takes_no_masks_reads_answers_one_by_one(folders: dict[str, Path]) -> None:
    assert not open_subject(str(folders["bloom"])).model.shares_contexts
    assert open_subject(str(folders["mistral"])).model.shares_contexts


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_the_harness(folders: dict[str, Path], kind: str) -> None:
    settings = {"until": ["。", "会った"], "max_gen_toks": 12, "do_sample": False}
    requests = [ask(japanese_text(number, 1)[: 10 + 7 * number], settings) for number in range(11)]
    requests.append(ask(japanese_text(50, 4), {**settings, "until": "\n"}))
    expected = reference(folders[kind]).generate_until(requests, disable_tqdm=True)
    model = TsumuguLM(open_subject(str(folders[kind])), batch_size=4)
    assert model.generate_until(requests) == expected
    assert model.unusual[TRUNCATED]["test"] == 1


def test_whole_texts_are_scored_as_by_the_harness_where_one_window_is_enough(
    folders: dict[str, Path],
) -> None:
    requests = [ask(japanese_text(number, 1)) for number in range(5)]
    expected = reference(folders["llama"]).loglikelihood_rolling(requests, disable_tqdm=True)
    found = TsumuguLM(open_subject(str(folders["llama"])), batch_size=2).loglikelihood_rolling(requests)
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama"])
def test_what_many_prompts_begin_with_is_read_once(
    folders: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = japanese_text(3, 1)[:45] + "\n"
    prompts = [examples + japanese_text(number, 1)[: 5 + number] for number in range(7)]
    requests = [ask(prompt, answer) for prompt in prompts for answer in ("は", "港町で会った", "を見た。")]
    settings = {"until": ["。"], "max_gen_toks": 9, "do_sample": False}
    writing = [ask(prompt, settings) for prompt in prompts]
    subject = open_subject(str(folders[kind]))
    read: list[int] = []
    original = NativeModel.read_prefix

    def watched(model: NativeModel, tokens: Any) -> Any:
        read.append(len(tokens))
        return original(model, tokens)

    monkeypatch.setattr(NativeModel, "read_prefix", watched)
    model = TsumuguLM(subject, batch_size=3, quiet=True)
    found = model.loglikelihood(requests)
    texts = model.generate_until(writing)
    assert len(read) == 2
    assert min(read) >= 40
    harness = reference(folders[kind])
    expected = harness.loglikelihood(requests, disable_tqdm=True)
    assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], abs=1e-4)
    assert [one[1] for one in found] == [one[1] for one in expected]
    assert texts == harness.generate_until(writing, disable_tqdm=True)


def test_an_answer_without_tokens_is_certain_and_counted(folders: dict[str, Path]) -> None:
    model = TsumuguLM(open_subject(str(folders["gpt2"])), batch_size=2)
    assert model.loglikelihood([ask("犬", ""), ask("犬", "猫")])[0] == (0.0, True)
    assert model.unusual[EMPTY]["test"] == 1


def test_what_is_answered_is_not_computed_again(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = choices()
    settings = {"until": ["。"], "max_gen_toks": 5}
    writing = [ask("港町で", settings), ask(japanese_text(50, 4), settings)]
    subject = open_subject(str(folders["gpt2"]))
    answers = AnswerFile(tmp_path, {"model": "gpt2"})
    first = TsumuguLM(subject, batch_size=4)
    first.answers = answers
    found, text = first.loglikelihood(requests), first.generate_until(writing)
    answers.close()
    # A crash in the middle of a line, which costs that answer and no other.
    with (tmp_path / "answers-0.jsonl").open("ab") as file:
        file.write(b'["abc", [1.0')

    monkeypatch.setattr(type(subject.model), "read", None)
    again = TsumuguLM(subject, batch_size=4)
    again.answers = AnswerFile(tmp_path, {"model": "gpt2"})
    assert again.loglikelihood(requests) == found
    assert again.generate_until(writing) == text
    # Prompts that lost their beginning are counted before a crash and after it.
    assert first.unusual[TRUNCATED]["test"] == 3
    assert again.unusual == first.unusual
    other = AnswerFile(tmp_path, {"model": "another"})
    assert other.get("loglikelihood", requests[0].args) is None


def test_a_crash_in_the_middle_costs_what_was_in_the_model_alone(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, subject = choices(), open_subject(str(folders["llama"]))
    expected = TsumuguLM(subject, batch_size=2, quiet=True).loglikelihood(requests)
    original, passes = NativeModel.read, 0

    def crashing(model: NativeModel, *arguments: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes == 3:
            raise KeyboardInterrupt
        return original(model, *arguments)

    monkeypatch.setattr(NativeModel, "read", crashing)
    broken = TsumuguLM(subject, batch_size=2, quiet=True)
    broken.answers = AnswerFile(tmp_path, {"model": "llama"})
    with pytest.raises(KeyboardInterrupt):
        broken.loglikelihood(requests)
    again = TsumuguLM(subject, batch_size=2, quiet=True)
    again.answers = AnswerFile(tmp_path, {"model": "llama"})
    kept = sum(again.answers.get("loglikelihood", request.args) is not None for request in requests)
    assert 0 < kept < len(requests)
    found = again.loglikelihood(requests)
    assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], abs=1e-4)
    lines = (tmp_path / "answers-0.jsonl").read_text(encoding="utf-8").splitlines()
    assert len({line[:40] for line in lines}) == len(lines) == len(requests)


def test_a_task_that_samples_is_refused(folders: dict[str, Path]) -> None:
    model = TsumuguLM(open_subject(str(folders["gpt2"])), batch_size=2)
    with pytest.raises(TsumuguError, match="greedy"):
        model.generate_until([ask("犬", {"until": ["。"], "do_sample": True, "temperature": 0.7})])


def test_an_answer_may_be_as_long_as_the_longest_right_one(folders: dict[str, Path]) -> None:
    subject = open_subject(str(folders["gpt2"]))
    settings = {"until": [], "longest_of": ["図書館", "古い地図と傘"]}
    prompt = TsumuguLM(subject, batch_size=2)._prompt(ask("港町で", settings))
    assert prompt.max_new_tokens == len(subject.encode("古い地図と傘"))
