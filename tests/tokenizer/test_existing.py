"""Existing tokenizers: LINE's slow form, `.model` files, Hugging Face directories of every kind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece as spm
from document_shards import write_shards
from small_tokenizers import DOCUMENTS, train, write_line_form, written_folder
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import write_json
from tsumugu.pipeline import StageContext
from tsumugu.recipe import load_recipe
from tsumugu.stages import STAGES
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.encoder import load_encoder, load_fast_encoder
from tsumugu.tokenizer.existing import open_existing, write_existing
from tsumugu.tokenizer.presets import SPECIAL_TOKENS
from tsumugu.tokenizer.stage import run

TEXTS = ("", "去年の冬、ｶﾞﾗｽを 2024 年に", "</s>や<mask>を見せる", "a  b\n\nc\t", "👨‍👩‍👧‍👦𠮷\x00")


def write_byte_level_bpe(folder: Path, **special: Any) -> None:
    """A directory such as GPT-NeoX's: byte-level BPE that adds <|endoftext|> to every text, cut at 8."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(DOCUMENTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer.enable_truncation(8)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", special)


def test_line_s_slow_form_becomes_a_fast_tokenizer_with_the_same_ids(tmp_path: Path) -> None:
    write_line_form(tmp_path / "line")
    write_existing(tmp_path / "line", tmp_path / "written", model_max_length=2048)
    slow = spm.SentencePieceProcessor(model_file=str(tmp_path / "line" / "spiece.model"))
    fast = AutoTokenizer.from_pretrained(tmp_path / "written")
    encoder = load_encoder(tmp_path / "written")
    for text in TEXTS:
        assert slow.encode(text) == encoder.encode(text)
        # No </s> at the end, not even when special tokens are asked for.
        assert fast(text)["input_ids"] == encoder.encode(text)
    for number, (role, token) in enumerate(SPECIAL_TOKENS.items()):
        assert getattr(fast, role) == token
        assert getattr(fast, f"{role}_id") == number
    assert len(fast) == encoder.vocab_size == slow.get_piece_size()


def test_special_tokens_that_a_model_finds_in_text_are_hidden(tmp_path: Path) -> None:
    (tmp_path / "line").mkdir()
    write_line_form(tmp_path / "line")
    model = train(
        control_symbols=[], user_defined_symbols=["<sep>", "<mask>", "<cls>"], required_chars="<sepmakcl>"
    )
    (tmp_path / "line" / "spiece.model").write_bytes(model)
    assert 5 in spm.SentencePieceProcessor(model_proto=model).encode("犬<mask>猫")
    write_existing(tmp_path / "line", tmp_path / "written", model_max_length=128)
    for encoder in (load_encoder(tmp_path / "written"), load_fast_encoder(tmp_path / "written")):
        assert min(encoder.encode("犬<mask><sep>猫</s>")) > 6


def test_a_model_file_alone_says_its_special_tokens(tmp_path: Path) -> None:
    (tmp_path / "own.model").write_bytes(train(bos_id=-1, pad_id=-1, eos_id=1))
    write_existing(tmp_path / "own.model", tmp_path / "written", model_max_length=128)
    encoder = load_encoder(tmp_path / "written")
    assert (encoder.unk_id, encoder.bos_id, encoder.eos_id, encoder.pad_id) == (0, None, 1, 1)
    assert encoder.document_start == []
    assert encoder.prompt_start == 1


def test_a_folder_of_an_earlier_run_goes_on_as_sentencepiece(tmp_path: Path) -> None:
    source = written_folder("modern")
    write_existing(source, tmp_path / "again", model_max_length=128)
    for name in ("spiece.model", "tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (source / name).read_bytes()


def test_a_tokenizer_json_is_copied_and_used_whole(tmp_path: Path) -> None:
    write_byte_level_bpe(
        tmp_path / "neox",
        tokenizer_class="GPTNeoXTokenizerFast",
        eos_token={"__type": "AddedToken", "content": "<|endoftext|>"},
        pad_token="<|padding|>",
        chat_template="{{ messages }}",
    )
    write_existing(tmp_path / "neox", tmp_path / "written", model_max_length=128)
    names = {path.name for path in (tmp_path / "written").iterdir()}
    assert "spiece.model" not in names
    given = (tmp_path / "neox" / "tokenizer.json").read_bytes()
    assert (tmp_path / "written" / "tokenizer.json").read_bytes() == given
    assert (tmp_path / "written" / "chat_template.jinja").read_text() == "{{ messages }}"
    encoder = load_encoder(tmp_path / "written")
    assert (encoder.bos_id, encoder.eos_id, encoder.pad_id, encoder.unk_id) == (None, 0, 1, None)
    assert encoder.vocab_size == 400
    text = "去年の冬、" * 20 + "<|endoftext|>  \n👨‍👩‍👧‍👦</s>"
    ids = encoder.encode(text)
    assert len(ids) > 8
    assert 0 not in ids
    assert encoder.decode([*ids, 0]) == text
    batch = encoder.encode_batch([text, "", "犬"])
    assert [one.tolist() for one in batch] == [ids, [], encoder.encode("犬")]
    assert "".join(encoder.pieces(encoder.encode("The end"))) == "The end"
    fast = AutoTokenizer.from_pretrained(tmp_path / "written")
    assert fast(text, add_special_tokens=False)["input_ids"] == ids
    assert len(fast) == 400


def test_the_end_of_text_may_stand_in_config_json(tmp_path: Path) -> None:
    write_byte_level_bpe(tmp_path / "neox")
    write_json(tmp_path / "neox" / "config.json", {"model_type": "gpt_neox", "eos_token_id": [0, 1]})
    write_existing(tmp_path / "neox", tmp_path / "written", model_max_length=128)
    assert load_encoder(tmp_path / "written").eos_id == 0


def test_a_unigram_tokenizer_json_does_not_find_special_tokens_in_text(tmp_path: Path) -> None:
    """transformers' own conversions of SentencePiece give </s> the best score of all."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((one, -4.0) for one in "</s>犬猫▁")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.add_tokens([AddedToken("</s>", special=False)])
    (tmp_path / "own").mkdir()
    tokenizer.save(str(tmp_path / "own" / "tokenizer.json"))
    write_json(tmp_path / "own" / "tokenizer_config.json", {"eos_token": "</s>", "unk_token": "<unk>"})
    write_existing(tmp_path / "own", tmp_path / "written", model_max_length=128)
    encoder = load_encoder(tmp_path / "written")
    assert encoder.pieces(encoder.encode("犬</s>猫")) == ["犬", "<", "/", "s", ">", "猫"]
    assert encoder.eos_id == 1


def _no_files(folder: Path) -> None:
    (folder / "spiece.model").unlink()


def _remote_code(folder: Path) -> None:
    (folder / "spiece.model").unlink()
    write_json(folder / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own.Own", None]}})
    (folder / "own.py").write_text("raise SystemExit('this was run')")


def _damaged_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model"')


def _other_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')


def _damaged_model(folder: Path) -> None:
    (folder / "spiece.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def _empty_model(folder: Path) -> None:
    (folder / "spiece.model").write_bytes(b"")


def _damaged_settings(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[]")


def _no_end(folder: Path) -> None:
    (folder / "spiece.model").write_bytes(train(eos_id=-1))
    write_json(folder / "tokenizer_config.json", {"bos_token": "<s>"})


def _foreign_end(folder: Path) -> None:
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>"})


def _added(folder: Path) -> None:
    write_json(folder / "added_tokens.json", {"<|tool|>": 900, "<extra_id_0>": 901})


def _lower(folder: Path) -> None:
    write_json(folder / "tokenizer_config.json", {**SPECIAL_TOKENS, "do_lower_case": True})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_no_files, "neither tokenizer.json nor spiece.model"),
        (_remote_code, "is never run"),
        (_damaged_json, "tokenizer.json is damaged"),
        (_other_json, "tokenizer.json is damaged, or no tokenizer"),
        (_damaged_model, "spiece.model is not a SentencePiece model"),
        (_empty_model, "spiece.model is not a SentencePiece model"),
        (_damaged_settings, "tokenizer_config.json is damaged"),
        (_no_end, "no end-of-text token"),
        (_foreign_end, "eos_token is '<|im_end|>', which is not in its vocabulary"),
        (_added, "adds tokens to its SentencePiece model .'<|tool|>'."),
        (_lower, "do_lower_case"),
        (shutil.rmtree, "no such file or directory"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    write_line_form(tmp_path / "line")
    spoil(tmp_path / "line")
    with pytest.raises(TsumuguError) as caught:
        write_existing(tmp_path / "line", tmp_path / "written", model_max_length=128)
    assert f"tokenizer.path = {tmp_path / 'line'}: " in str(caught.value)
    assert told.replace(".'", "('").replace("'.", "')") in str(caught.value)


def test_to_be_looked_at_a_tokenizer_needs_no_end_of_text(tmp_path: Path) -> None:
    write_line_form(tmp_path / "line")
    _no_end(tmp_path / "line")
    encoder = open_existing(tmp_path / "line")
    assert encoder.decode(encoder.encode("港町で会った。")) == "港町で会った。"


def test_half_a_surrogate_pair_is_told(tmp_path: Path) -> None:
    for encoder in (load_encoder(written_folder("modern")), load_fast_encoder(written_folder("modern"))):
        with pytest.raises(TsumuguError, match=r"character 1 of a text .* \(U\+D800\)"):
            encoder.encode_batch(["よい", "a\ud800"])


def test_training_settings_and_a_path_exclude_each_other() -> None:
    assert TokenizerConfig().vocab_size == 51_200
    assert TokenizerConfig(path="somewhere").vocab_size is None
    with pytest.raises(ValueError, match="nothing is trained: leave out vocab_size, preset"):
        TokenizerConfig(path="somewhere", vocab_size=4000, preset="modern")
    written_out = TokenizerConfig(path="somewhere").model_dump()
    assert TokenizerConfig(**written_out) == TokenizerConfig(path="somewhere")


def test_the_stage_takes_it_instead_of_training(tmp_path: Path, recipe_path: Path) -> None:
    write_line_form(tmp_path / "line")
    recipe = load_recipe(recipe_path, [f"tokenizer={json.dumps({'path': str(tmp_path / 'line')})}"])
    (tmp_path / "corpus").mkdir()
    rows = [(f"id-{number}", "web", text) for number, text in enumerate(DOCUMENTS)]
    write_shards(tmp_path / "corpus" / "documents", rows, [len(rows)])
    counts = run(
        StageContext(
            recipe=recipe,
            folder=tmp_path / "written",
            work=tmp_path / "work",
            inputs={"corpus": tmp_path / "corpus"},
            resources=Resources(1),
        )
    )
    assert counts["kind"] == "SentencePiece unigram"
    assert counts["vocab_size"] == load_encoder(tmp_path / "written").vocab_size
    assert counts["ties"] == counts["combining_marks"] == 0
    assert "trained_on" not in counts


def test_its_files_are_part_of_the_fingerprint(tmp_path: Path, recipe_path: Path) -> None:
    (settings,) = (stage.settings for stage in STAGES if stage.name == "tokenizer")
    write_line_form(tmp_path / "line")
    recipe = load_recipe(recipe_path, [f"tokenizer={json.dumps({'path': str(tmp_path / 'line')})}"])
    before = settings(recipe)
    assert settings(recipe) == before
    write_line_form(tmp_path / "line", comment="changed")
    assert settings(recipe) != before
