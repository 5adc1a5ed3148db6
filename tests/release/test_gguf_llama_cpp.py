"""GGUF files in llama.cpp itself. Skipped where llama-cpp-python is not installed (extra `llama`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ggufs import TEXTS, Spelling, logits, write_directory

from conftest import japanese_text
from decoders import KINDS
from tsumugu.evaluation.subject import open_subject
from tsumugu.model.config import ModelConfig
from tsumugu.release.gguf_export import KINDS as KINDS_OF_MATRICES
from tsumugu.release.gguf_export import export_gguf
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tuning.template import open_template

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

every_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
CLOSE = {"f32": 1e-4, "f16": 2e-2, "bf16": 0.2, "q8_0": 0.5}
"""Of logits that reach 4."""
GELU = 5e-3
"""llama.cpp's is the approximation with tanh, looked up in a table of float16. GPT-2 and GPT-NeoX have the
exact one here; Llama has none."""
FLOAT32 = 0
"""Keys and values are kept as float16 unless llama.cpp is told."""


def open_llama(path: Path, **keys: Any) -> Any:
    return llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, verbose=False, **keys)


def tokenize(llama: Any, text: str, *, special: bool = False) -> list[int]:
    return list(llama.tokenize(text.encode(), add_bos=False, special=special))


@every_kind
@torch.no_grad()
def test_logits_are_those_of_the_directory(config: ModelConfig, finished_run: Path, tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "model", config, finished_run / "tokenizer")
    ids = load_encoder(folder).encode(japanese_text(3))[:60]
    decoder = open_subject(str(folder)).model.decoder  # type: ignore[attr-defined]
    wanted = decoder(torch.tensor([ids]))[0].numpy()
    for kind, close in CLOSE.items():
        path = export_gguf(folder, tmp_path / f"{kind}.gguf", kind=kind).path
        llama = open_llama(path, logits_all=True, type_k=FLOAT32, type_v=FLOAT32)
        llama.eval(ids)
        difference = np.abs(llama.scores[: len(ids)] - wanted).max()
        print(f"{kind}: {difference:.2e} of {np.abs(wanted).max():.1f}")
        assert difference < close + (0 if config.architecture == "llama" else GELU)
        llama.close()


@pytest.mark.parametrize("kind", KINDS_OF_MATRICES)
@torch.no_grad()
def test_quantised_matrices_are_what_llama_cpp_takes_them_for(
    kind: str, finished_run: Path, tmp_path: Path
) -> None:
    """Its logits are those of the numbers that the file stands for, but for its rounding of activations."""
    folder = write_directory(tmp_path / "model", KINDS["llama, grouped, untied"], finished_run / "tokenizer")
    ids = load_encoder(folder).encode(japanese_text(3))[:60]
    path = export_gguf(folder, tmp_path / "model.gguf", kind=kind).path
    llama = open_llama(path, logits_all=True, type_k=FLOAT32, type_v=FLOAT32)
    llama.eval(ids)
    difference = np.abs(llama.scores[: len(ids)] - logits(path, ids).numpy()).max()
    print(f"{kind}: {difference:.2e}")
    assert difference < CLOSE.get(kind, 0.3)


@pytest.fixture(scope="module")
def spoken(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A directory and its file."""
    folder = tmp_path_factory.mktemp("spoken")
    write_directory(folder / "model", KINDS["llama"], finished_run / "tokenizer")
    return folder / "model", export_gguf(folder / "model", folder / "model.gguf").path


def test_texts_are_spelled_alike(spoken: tuple[Path, Path]) -> None:
    encoder, llama, spelling = load_encoder(spoken[0]), open_llama(spoken[1]), Spelling(spoken[1])
    other = pieces = 0
    for text in (*TEXTS, *(japanese_text(seed) for seed in range(50))):
        found, wanted = tokenize(llama, text), encoder.encode(text)
        # What the tests without llama.cpp take for it is what it does.
        assert found == spelling.encode(text), text
        assert spelling.price(found) == spelling.price(wanted)
        assert llama.detokenize(found).decode() == text
        other += found != wanted
        pieces += len(wanted)
    print(f"{other} texts of {len(TEXTS) + 50} ({pieces} tokens) have another spelling, as likely")


def test_a_leading_byte_order_mark_is_lost(spoken: tuple[Path, Path]) -> None:
    """As docs/release.md says."""
    assert tokenize(open_llama(spoken[1]), "\ufeffあ") == tokenize(open_llama(spoken[1]), "あ")


def test_special_tokens_are_found_where_they_are_asked_for_and_end_what_is_written(
    spoken: tuple[Path, Path],
) -> None:
    llama = open_llama(spoken[1])
    assert tokenize(llama, "<s>あ</s>", special=True)[::2] == [1, 2]
    assert not {1, 2} & {*tokenize(llama, "<s>あ</s>")}
    assert (llama.token_bos(), llama.token_eos()) == (1, 2)
    # This tokenizer of llama.cpp puts nothing in front of a text: whoever wants <s> there writes it.
    assert list(llama.tokenize("あ".encode(), add_bos=True)) == tokenize(llama, "あ")
    vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
    assert [id_ for id_ in range(460) if llama_cpp.llama_vocab_is_eog(vocabulary, id_)] == [2]


def test_the_chat_template_is_in_the_file(finished_run: Path, tmp_path: Path) -> None:
    from tsumugu.release.loading import load_tokenizer

    folder = write_directory(tmp_path / "model", KINDS["gpt-neox"], finished_run / "tokenizer")
    tokenizer = load_tokenizer(folder)
    template = open_template("modern", tokenizer)
    (folder / "chat_template.jinja").write_text(template.jinja, encoding="utf-8")
    llama = open_llama(export_gguf(folder, tmp_path / "model.gguf").path)
    assert llama.metadata["tokenizer.chat_template"] == template.jinja
