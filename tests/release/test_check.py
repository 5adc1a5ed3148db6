"""`tsumugu release check`: what a stranger would find wrong with a directory."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.subject import open_subject
from tsumugu.files import read_json, write_json
from tsumugu.release.card_check import check_card
from tsumugu.release.check import check_release
from tsumugu.release.loading_check import check_loading
from tsumugu.release.sums import SUMS, write_sums, wrong_sums
from tsumugu.tokenizer.existing import write_existing
from tsumugu.tokenizer.templates import refuse_hostile


@pytest.fixture
def release(finished_run: Path, tmp_path: Path) -> Path:
    """A copy, to be spoiled."""
    return Path(shutil.copytree(finished_run / "release", tmp_path / "release"))


def test_a_release_passes(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "check", str(finished_run / "release")]) == 0
    text = capsys.readouterr().out
    assert "WRONG" not in text
    for told in (
        "files are those of SHA256SUMS",
        "no chat template",
        "tensors in 1 file, float32, finite",
        "license apache-2.0 (LICENSE is here), language ja",
        "model-index with 4 scores",
        "GPTNeoXForCausalLM, 40,192 parameters",
        "texts as spiece.model does",
        "its logits are those of Tsumugu's decoder",
        "it writes, with its own settings",
    ):
        assert told in text


def test_what_is_wrong_is_listed_and_ends_with_status_1(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({}, release / "pytorch_model.bin")
    (release / "config.json").write_text((release / "config.json").read_text() + "\n")
    assert main(["release", "check", str(release), "--json"]) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    wrong = {finding["subject"]: finding["text"] for finding in found["findings"] if not finding["ok"]}
    assert not found["ok"]
    assert wrong.keys() == {"sums", "code", "loading"}
    assert wrong["sums"] == "config.json is not what was released; pytorch_model.bin is not listed"
    assert "pytorch_model.bin: pickled files can run any code" in wrong["code"]
    # What may run code is not loaded.
    assert wrong["loading"] == "not tried, because of what is wrong above"
    assert "3 of" in err


def _settings(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer_config.json"
    write_json(path, {**read_json(path), **changes})


def _config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    write_json(path, {**read_json(path), **changes})


def _weights(folder: Path, **changes: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), **changes}, path, metadata={"format": "pt"})


def hostile_template(folder: Path) -> None:
    _settings(folder, chat_template="{{ messages.__class__.__mro__ }}")


def template_among_others(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    _settings(folder, chat_template=[{"name": "tools", "template": "{% include '/etc/passwd' %}"}])


def code_of_the_tokenizer(folder: Path) -> None:
    _settings(folder, auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})


def a_module(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text("print('run')")


def a_link(folder: Path) -> None:
    (folder / "notes.txt").symlink_to("/etc/hostname")


def another_precision(folder: Path) -> None:
    _config(folder, dtype="bfloat16")


def another_vocabulary(folder: Path) -> None:
    _config(folder, vocab_size=461)


def no_number(folder: Path) -> None:
    _weights(folder, **{"gpt_neox.final_layer_norm.bias": torch.full((32,), torch.nan)})


def a_tensor_too_many(folder: Path) -> None:
    _weights(folder, extra=torch.ones(1))


def an_index_that_leads_out(folder: Path) -> None:
    listed = dict.fromkeys(load_file(folder / "model.safetensors"), "../model.safetensors")
    write_json(folder / "model.safetensors.index.json", {"weight_map": listed})


@pytest.mark.parametrize(
    ("spoil", "subject", "told"),
    [
        (hostile_template, "templates", "reaches for '__mro__'"),
        (template_among_others, "templates", "loads another template"),
        (code_of_the_tokenizer, "code", "tokenizer_config.json names code of its own (auto_map)"),
        (a_module, "code", "modeling_evil.py: the model comes with code"),
        (a_link, "code", "notes.txt is a link"),
        (another_precision, "weights", "config.json says bfloat16, and the weights are float32"),
        (another_vocabulary, "weights", "vocab_size = 461, and the embedding has 460 rows"),
        (no_number, "weights", "final_layer_norm.bias holds numbers that are not finite"),
        (a_tensor_too_many, "weights", "extra has no place in this model"),
        (an_index_that_leads_out, "weights", "not in the model's own directory"),
    ],
)
def test_what_cannot_be_trusted_is_named_and_not_loaded(
    release: Path, spoil: Callable[[Path], None], subject: str, told: str
) -> None:
    spoil(release)
    write_sums(release)
    wrong = {finding.subject: finding.text for finding in check_release(release).wrong}
    assert wrong.keys() == {subject, "loading"}
    assert told in wrong[subject]


def another_end(folder: Path) -> None:
    _config(folder, eos_token_id=5)


def other_ids(folder: Path) -> None:
    found = read_json(folder / "tokenizer.json")
    pieces = found["model"]["vocab"]
    place = next(n for n, (piece, _) in enumerate(pieces) if piece == "い")
    pieces[place], pieces[-1] = pieces[-1], pieces[place]
    write_json(folder / "tokenizer.json", found)


def settings_that_contradict(folder: Path) -> None:
    path = folder / "generation_config.json"
    write_json(path, {**read_json(path), "do_sample": False})


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (another_end, r"eos_token_id is 5 in config\.json and 2 in the tokenizer"),
        (other_ids, r"tokenizer\.json and spiece\.model spell .* with different ids"),
        (settings_that_contradict, r"generation_config\.json: "),
        (no_tokenizer, "transformers cannot load it"),
    ],
)
def test_what_shows_in_use_is_named(release: Path, spoil: Callable[[Path], None], told: str) -> None:
    spoil(release)
    with pytest.raises(TsumuguError, match=told):
        list(check_loading(release))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("license: apache-2.0", "", "the metadata have no license"),
        ("license: apache-2.0", "license: other", "needs license_name"),
        ("language: ja", "language: [ja", "the metadata cannot be read"),
        ("library_name: transformers", "", "have no library_name"),
        ("model-index:", "model-index: 5\nother:", "the metadata cannot be read"),
        ("  - task:\n", "  - tusk:\n", "the metadata cannot be read"),
    ],
)
def test_a_card_that_the_hub_could_not_read_is_refused(
    release: Path, before: str, after: str, told: str
) -> None:
    card = (release / "README.md").read_text(encoding="utf-8")
    assert before in card
    (release / "README.md").write_text(card.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(TsumuguError, match=told):
        list(check_card(release))


def test_a_card_needs_its_license(release: Path) -> None:
    (release / "LICENSE").unlink()
    with pytest.raises(TsumuguError, match="there is no LICENSE"):
        list(check_card(release))
    (release / "README.md").unlink()
    with pytest.raises(TsumuguError, match=r"there is no README\.md"):
        list(check_card(release))


def test_sums_that_lead_out_of_the_directory_are_refused(release: Path) -> None:
    (release / SUMS).write_text(f"{'0' * 64}  ../secret\n")
    with pytest.raises(TsumuguError, match=r"line 1: '\.\./secret' is not in the directory"):
        wrong_sums(release)
    (release / SUMS).write_text("no sum\n")
    with pytest.raises(TsumuguError, match="line 1: this is no sum"):
        wrong_sums(release)
    (release / SUMS).unlink()
    with pytest.raises(TsumuguError, match="there is no SHA256SUMS"):
        wrong_sums(release)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['role'] }}: {{ m.content | trim }}\n{% endfor %}",
        "{% if messages[0]['role'] == 'system' %}{% set s = messages[0].content %}{% endif %}"
        "{{ bos_token }}{{ s.strip() }}{{ raise_exception('x') }}",
        "{% generation %}{{ messages[-1]['content'] }}{% endgeneration %}",
        "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}",
        "{% macro say(x) %}{{ x }}{% endmacro %}{{ say(strftime_now('%d')) }}",
    ],
)
def test_templates_of_conversations_are_let_through(template: str) -> None:
    refuse_hostile(template, "x")


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ ''.__class__ }}", "reaches for '__class__'"),
        ("{{ x['__globals__'] }}", "reaches for '__globals__'"),
        ("{{ x['__glo' ~ 'bals__'] }}", "reaches for '__glo'"),
        ("{{ x | attr('y') }}", "by name"),
        ("{{ '{0.__class__}'.format(x) }}", "reaches for"),
        ("{% import 'x' as y %}", "loads another template"),
        ("{% extends 'x' %}", "loads another template"),
        ("\n{{ cycler._private }}", "line 2 of the chat template"),
        ("{% for %}", "is no Jinja template"),
    ],
)
def test_templates_that_reach_into_python_are_refused(template: str, told: str) -> None:
    with pytest.raises(TsumuguError, match=told):
        refuse_hostile(template, "chat_template.jinja")


def test_a_folder_without_a_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match=r"it has no config\.json"):
        check_release(tmp_path)


def test_a_hostile_template_is_not_taken_over_with_a_tokenizer(release: Path, tmp_path: Path) -> None:
    hostile_template(release)
    with pytest.raises(
        TsumuguError, match=r"tokenizer\.path = .*: tokenizer_config\.json, line 1 .* reaches"
    ):
        write_existing(release, tmp_path / "tokenizer", model_max_length=128)


def test_pickled_weights_and_indexes_that_lead_out_are_not_evaluated(release: Path) -> None:
    an_index_that_leads_out(release)
    with pytest.raises(TsumuguError, match="not in the model's own directory"):
        open_subject(str(release))
    (release / "model.safetensors.index.json").unlink()
    (release / "model.safetensors").rename(release / "pytorch_model.bin")
    with pytest.raises(TsumuguError, match=r"its weights are pickled \(pytorch_model\.bin\)"):
        open_subject(str(release))
