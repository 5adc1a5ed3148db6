"""`tsumugu release gguf`: every number of the model and every piece of the tokenizer are in the file."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from ggufs import TEXTS, Spelling, fields, logits, tensors, write_directory
from small_tokenizers import DOCUMENTS, written_folder

from decoders import KINDS
from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.subject import open_subject
from tsumugu.files import read_json, write_json
from tsumugu.model.config import ModelConfig
from tsumugu.release import gguf_export
from tsumugu.release.adapter import TheirWeights
from tsumugu.release.gguf_export import encode, export_gguf
from tsumugu.release.gguf_vocabulary import NEVER, scaled_scores
from tsumugu.release.questions import _KINDS
from tsumugu.release.weight_files import read_weights
from tsumugu.tokenizer.encoder import load_encoder

every_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
IDS = [1, 40, 271, 300, 12, 459, 7, 7, 33]


@pytest.fixture
def directory(tmp_path: Path, finished_run: Path) -> Path:
    """To be spoiled."""
    return write_directory(tmp_path / "model", KINDS["llama"], finished_run / "tokenizer")


@every_kind
@torch.no_grad()
def test_the_file_computes_what_the_directory_does(
    config: ModelConfig, finished_run: Path, tmp_path: Path
) -> None:
    folder = write_directory(tmp_path / "model", config, finished_run / "tokenizer")
    written = export_gguf(folder, tmp_path / "model.gguf")
    decoder = open_subject(str(folder)).model.decoder  # type: ignore[attr-defined]
    assert written.kind == "f32"
    assert written.bytes == written.path.stat().st_size
    assert (logits(written.path, IDS) - decoder(torch.tensor([IDS]))[0]).abs().max() < 1e-5


@every_kind
def test_every_weight_is_in_the_file_once(config: ModelConfig, finished_run: Path, tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "model", config, finished_run / "tokenizer")
    found = tensors(export_gguf(folder, tmp_path / "model.gguf").path)
    ours = TheirWeights(read_weights(folder), config)
    output = found.pop("output.weight", None)
    if output is not None and config.tie_word_embeddings:
        # llama.cpp's GPT-NeoX has no tied embeddings.
        assert config.architecture == "gpt-neox"
        assert torch.equal(output, found["token_embd.weight"])
        output = None
    there = torch.cat([value.flatten() for value in [*found.values(), *([] if output is None else [output])]])
    here = torch.cat([value.flatten() for value in ours.values()])
    assert torch.equal(there.sort().values, here.sort().values)


def test_sizes_are_those_of_config_json(directory: Path, finished_run: Path, tmp_path: Path) -> None:
    config = ModelConfig.model_validate(
        {**KINDS["llama, grouped, untied"].model_dump(), "intermediate_size": 80}
    )
    folder = write_directory(tmp_path / "other", config, finished_run / "tokenizer")
    found = fields(export_gguf(folder, tmp_path / "model.gguf").path)
    assert {key: value for key, value in found.items() if key.startswith("llama.")} == {
        "llama.vocab_size": 460,
        "llama.context_length": 64,
        "llama.embedding_length": 32,
        "llama.block_count": 2,
        "llama.feed_forward_length": 80,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 8,
        "llama.attention.value_length": 8,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-3),
        "llama.rope.dimension_count": 8,
        "llama.rope.freq_base": 500.0,
    }
    neox = write_directory(
        tmp_path / "neox", KINDS["gpt-neox, parallel residual"], finished_run / "tokenizer"
    )
    found = fields(export_gguf(neox, tmp_path / "neox.gguf").path)
    assert found["general.architecture"] == "gptneox"
    assert found["gptneox.use_parallel_residual"] is True
    norms = write_directory(
        tmp_path / "qwen3", KINDS["llama, norms on queries and keys, untied"], finished_run / "tokenizer"
    )
    assert fields(export_gguf(norms, tmp_path / "qwen3.gguf").path)["general.architecture"] == "qwen3"


@pytest.mark.parametrize("kind", gguf_export.KINDS)
def test_matrices_have_the_kind_that_is_asked_for_and_stay_close(
    kind: str, directory: Path, tmp_path: Path
) -> None:
    written = export_gguf(directory, tmp_path / "model.gguf", kind=kind)
    exact = tensors(export_gguf(directory, tmp_path / "exact.gguf").path)
    found = tensors(written.path)
    kinds = {one.name: one.tensor_type.name for one in GGUFReader(written.path).tensors}
    bits = {"f32": 23, "f16": 11, "bf16": 8, "q8_0": 7, "q5_1": 5, "q5_0": 4, "q4_1": 4, "q4_0": 3}[kind]
    for name, value in exact.items():
        assert kinds[name] == ("F32" if value.dim() == 1 else kind.upper())
        error = (found[name] - value).abs().max() / value.abs().max()
        assert error <= (0 if value.dim() == 1 else 2.0**-bits), name
    assert not written.coarse


def test_the_stored_kind_is_the_default(finished_run: Path, tmp_path: Path) -> None:
    for dtype, kind in ((torch.bfloat16, "bf16"), (torch.float16, "f16")):
        folder = write_directory(tmp_path / kind, KINDS["gpt2"], finished_run / "tokenizer", dtype=dtype)
        written = export_gguf(folder)
        assert written.path == tmp_path / f"{kind}-{kind}.gguf"
        found, stored = tensors(written.path), read_weights(folder)
        embedding = stored["transformer.wte.weight"].read()
        assert embedding.dtype == dtype
        assert torch.equal(found["token_embd.weight"], embedding.float())
        # llama.cpp adds positions in float32.
        names = {one.name: one.tensor_type.name for one in GGUFReader(written.path).tensors}
        assert names["position_embd.weight"] == "F32"


def test_rows_that_are_no_whole_blocks_are_float16(finished_run: Path, tmp_path: Path) -> None:
    config = KINDS["gpt-neox, untied, other sizes"]
    folder = write_directory(tmp_path / "model", config, finished_run / "tokenizer")
    written = export_gguf(folder, tmp_path / "model.gguf", kind="q8_0")
    kinds = {one.name: one.tensor_type.name for one in GGUFReader(written.path).tensors}
    assert "blk.0.attn_qkv.weight" in written.coarse
    assert all(kinds[name] == "F16" for name in written.coarse)


def test_a_number_beyond_the_kind_is_refused_with_its_name() -> None:
    large = torch.full((2, 32), 70_000.0)
    for kind in ("f16", "q8_0"):
        with pytest.raises(TsumuguError, match=r"blk\.1\.ffn_up\.weight .* too large for"):
            encode(large, kind, name="blk.1.ffn_up.weight")
    assert encode(large, "bf16", name="x").shape == (2, 64)
    with pytest.raises(TsumuguError, match="not finite"):
        encode(torch.tensor([[float("nan")] * 32]), "f32", name="x")


def test_a_long_vector_is_written_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_export, "BLOCK_BYTES", 64)
    for shape in ((100,), (37, 32)):
        value = torch.randn(shape)
        assert encode(value, "f32", name="x").tobytes() == value.numpy().tobytes()


@pytest.mark.parametrize("kind", ["japanese-large-lm", "modern", "identity, user-defined"])
def test_texts_are_spelled_as_sentencepiece_does_or_as_likely(kind: str, tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "model", KINDS["llama"], written_folder(kind))
    path = export_gguf(directory, tmp_path / "model.gguf").path
    spelling, encoder = Spelling(path), load_encoder(directory)
    special = {id_ for id_, kind in enumerate(fields(path)["tokenizer.ggml.token_type"]) if kind in (2, 3)}
    for text in (*TEXTS, *DOCUMENTS, *(re.findall(r".{1,9}", "".join(TEXTS), re.DOTALL))):
        found, wanted = spelling.encode(text), encoder.encode(text)
        assert spelling.price(found) == spelling.price(wanted), text
        assert encoder.decode(found) == text
        # No text becomes a special token.
        assert not special & {*found}
    # Most texts have one likeliest spelling.
    same = [spelling.encode(text) == encoder.encode(text) for text in DOCUMENTS]
    assert sum(same) > 0.8 * len(DOCUMENTS)


def test_of_equally_likely_spellings_llama_cpp_takes_the_longest_first_piece() -> None:
    """What docs/release.md says of the difference, on the smallest example there is."""

    class Runs(Spelling):
        def __init__(self) -> None:
            self.tokens = ["a", "aa"]
            self.scores = {"a": -10, "aa": -10}
            self.ids, self.bytes, self.longest = {"a": 0, "aa": 1}, {}, 2

    # SentencePiece and its fast twin: the longest last piece, [0, 1].
    assert Runs().encode("aaa") == [1, 0]


def test_scores_are_exact_where_they_are_multiples_of_a_64th() -> None:
    scores = [-n / 64 for n in range(2_000)]
    found = [round(float(torch.tensor(score)) * 1e4) for score in scaled_scores([*scores, None])]
    assert found[-1] == NEVER * 10_000
    factor = found[64] / scores[64]
    assert [score * factor for score in scores] == found[:-1]
    assert max(map(abs, found[:-1])) < 4_000_001


def test_the_tokenizers_settings_are_in_the_file(directory: Path, tmp_path: Path) -> None:
    found = fields(export_gguf(directory, tmp_path / "model.gguf").path)
    encoder = load_encoder(directory)
    assert found["tokenizer.ggml.bos_token_id"] == encoder.bos_id
    assert found["tokenizer.ggml.eos_token_id"] == encoder.eos_id
    assert found["tokenizer.ggml.padding_token_id"] == encoder.pad_id
    assert found["tokenizer.ggml.unknown_token_id"] == 0
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.ggml.add_space_prefix"] is False
    assert "tokenizer.chat_template" not in found
    assert found["tokenizer.ggml.tokens"][:7] == ["<unk>", "<s>", "</s>", "<pad>", "<sep>", "<mask>", "<cls>"]
    assert found["tokenizer.ggml.token_type"][:7] == [2, 3, 3, 3, 3, 3, 3]
    assert found["tokenizer.ggml.token_type"].count(6) == 256
    assert len(found["tokenizer.ggml.tokens"]) == found["llama.vocab_size"]


def test_answers_end_where_generation_config_says_and_nothing_is_put_before_a_conversation(
    directory: Path, tmp_path: Path
) -> None:
    (directory / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    write_json(directory / "generation_config.json", {"eos_token_id": [4, 2]})
    found = fields(export_gguf(directory, tmp_path / "line.gguf").path)
    assert (found["tokenizer.ggml.eos_token_id"], found["tokenizer.ggml.eot_token_id"]) == (2, 4)
    assert found["tokenizer.chat_template"] == "{{ messages[0].content }}"
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert "general.sampling.temp" not in found
    write_json(directory / "generation_config.json", {"eos_token_id": [4, 2, 5]})
    with pytest.raises(TsumuguError, match="two at most"):
        export_gguf(directory, tmp_path / "three.gguf")


def test_sampling_is_that_of_generation_config(directory: Path, tmp_path: Path) -> None:
    found = fields(export_gguf(directory, tmp_path / "model.gguf").path)
    assert found["general.sampling.temp"] == pytest.approx(0.7)
    assert found["general.sampling.top_p"] == pytest.approx(0.9)
    assert found["general.sampling.top_k"] == 0
    assert found["general.sampling.penalty_repeat"] == 1.0
    assert found["general.sampling.penalty_last_n"] == -1
    assert found["general.sampling.sequence"].startswith("penalties;temperature;")


def test_rows_beyond_the_tokenizer_have_names_that_no_text_becomes(
    finished_run: Path, tmp_path: Path
) -> None:
    folder = write_directory(tmp_path / "model", KINDS["llama"], finished_run / "tokenizer", rows=464)
    path = export_gguf(folder, tmp_path / "model.gguf").path
    found = fields(path)
    assert found["tokenizer.ggml.tokens"][459:] == [
        found["tokenizer.ggml.tokens"][459],
        *(f"[PAD{n}]" for n in range(4)),
    ]
    assert found["tokenizer.ggml.token_type"][460:] == [5] * 4
    assert max(Spelling(path).encode("[PAD0]")) < 460


def test_the_command_names_the_file_after_the_card_and_never_overwrites(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = Path(shutil.copytree(finished_run / "release", tmp_path / "release"))
    assert main(["release", "gguf", str(release), "--type", "q8_0"]) == 0
    path = tmp_path / "tiny-q8_0.gguf"
    assert f"{path}  28 tensors, q8_0" in capsys.readouterr().out
    found = fields(path)
    assert found["general.name"] == "tiny"
    assert found["general.license"] == "apache-2.0"
    assert found["general.languages"] == ["ja"]
    before = path.read_bytes()
    assert main(["release", "gguf", str(release), "--type", "q8_0"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


_MEASURE = """
import ctypes, gc, json, re, sys
from pathlib import Path
import torch
from tsumugu.release.gguf_export import export_gguf

def kilobytes(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

folder, peaks = Path(sys.argv[1]), {}
torch.set_num_threads(1)
for kind in ("f16", "f32", "q8_0"):  # the first one brings all libraries in
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is not there to be used again
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    export_gguf(folder, folder / f"{kind}.gguf", kind=kind)
    peaks[kind] = 1024 * (kilobytes("VmHWM") - before)
del peaks["f16"]
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_a_tensor_is_in_memory_and_never_the_model(finished_run: Path, tmp_path: Path) -> None:
    config = ModelConfig(architecture="llama", num_hidden_layers=12, hidden_size=512, num_attention_heads=8)
    folder = write_directory(tmp_path / "model", config, finished_run / "tokenizer", rows=24_000)
    largest, model = 4 * 24_000 * 512, (folder / "model.safetensors").stat().st_size
    result = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    for kind, peak in json.loads(result.stdout).items():
        print(
            f"{kind}: {peak / 1e6:.0f} MB; the model has {model / 1e6:.0f} MB, a matrix {largest / 1e6:.0f}"
        )
        assert 0 < peak < 2.5 * largest < 0.8 * model


def _normalised(folder: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2

    path = folder / "spiece.model"
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    model.normalizer_spec.add_dummy_prefix = True
    path.write_bytes(model.SerializeToString())


def _without_bytes(folder: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2

    path = folder / "spiece.model"
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    model.trainer_spec.byte_fallback = False
    path.write_bytes(model.SerializeToString())


def _another_token(folder: Path) -> None:
    found: Any = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    found["added_tokens"].append({**found["added_tokens"][-1], "id": 460, "content": "<|new|>"})
    (folder / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")


def _hostile(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ x.__class__ }}", encoding="utf-8")


def _pickled(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _other_family(folder: Path) -> None:
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "model_type": "mamba"})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "spiece.model").unlink(), "it has no spiece.model"),
        (lambda folder: (folder / "spiece.model").write_bytes(b"\xff"), "spiece.model is damaged"),
        (_normalised, "puts a space in front of it"),
        (_without_bytes, "byte fallback"),
        (_another_token, r"other tokens than spiece.model, such as '<\|new\|>'"),
        (_hostile, "chat template"),
        (_pickled, "pickled"),
        (_other_family, "mamba"),
        (lambda folder: (folder / "config.json").unlink(), "not a model directory"),
        (
            lambda folder: (folder / "generation_config.json").write_text("[]"),
            "generation_config.json is damaged",
        ),
    ],
)
def test_what_cannot_be_said_in_gguf_is_refused_and_leaves_no_file(
    spoil: Any, told: str, directory: Path, tmp_path: Path
) -> None:
    spoil(directory)
    with pytest.raises(TsumuguError, match=told):
        export_gguf(directory, tmp_path / "out.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_the_package_the_error_says_what_to_install(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_export, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    with pytest.raises(TsumuguError, match=r"pip install 'tsumugu\[gguf\]'"):
        export_gguf(directory, tmp_path / "out.gguf")


def test_the_kinds_of_the_command_line_are_those_of_the_code() -> None:
    assert _KINDS == gguf_export.KINDS
