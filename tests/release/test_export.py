"""Weights on their way out: the same numbers from every layout, in every precision, in little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import write_checkpoint
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from decoders import KINDS, VOCABULARY, decoder, some_tokens
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize
from tsumugu.release.adapter import hugging_face_config, to_hugging_face
from tsumugu.release.weight_files import INDEX, read_weights
from tsumugu.release.weights import DTYPES, export_weights

every_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())


def exported(checkpoint: Path, folder: Path, config: ModelConfig, **keys: Any) -> int:
    options = {"vocab_size": VOCABULARY, "dtype": "float32", "max_shard_size": "5GB", **keys}
    folder.mkdir(exist_ok=True)
    return export_weights(checkpoint, folder, config, **options)


def in_transformers(config: ModelConfig) -> Any:
    found = hugging_face_config(config, vocab_size=VOCABULARY, bos=1, eos=2, pad=3)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**found))


@every_kind
def test_weights_of_any_layout_become_the_file_that_safetensors_would_write(
    config: ModelConfig, tmp_path: Path
) -> None:
    model = decoder(config)
    save_file(to_hugging_face(model), tmp_path / "expected", metadata={"format": "pt"})
    for processes in (1, 3):
        checkpoint = write_checkpoint(tmp_path / str(processes), model, processes=processes)
        assert exported(checkpoint, tmp_path / "out", config) == 1
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("kind", ["gpt2", "gpt-neox", "llama, grouped, untied"])
def test_shards_and_index_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    model = decoder(KINDS[kind])
    theirs = in_transformers(KINDS[kind])
    theirs.load_state_dict(to_hugging_face(model), strict=False)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="30KB")
    checkpoint = write_checkpoint(tmp_path, model, processes=2)
    count = exported(checkpoint, tmp_path / "ours", KINDS[kind], max_shard_size="30KB")
    index = read_json(tmp_path / "ours" / INDEX)
    expected = read_json(tmp_path / "theirs" / INDEX)
    assert index["metadata"] == expected["metadata"]
    assert len(set(index["weight_map"].values())) == count > 2
    # The same form of names; which tensor is where depends on the order in which they are dealt.
    assert {name.partition("-of-")[0][:6] for name in index["weight_map"].values()} == {"model-"}
    assert index["weight_map"].keys() == expected["weight_map"].keys()
    for name in set(index["weight_map"].values()):
        assert (tmp_path / "ours" / name).stat().st_size < 34_000
    write_json(
        tmp_path / "ours" / "config.json",
        hugging_face_config(KINDS[kind], vocab_size=VOCABULARY, bos=1, eos=2, pad=3),
    )
    loaded, problems = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(problems.values())
    assert all(map(torch.equal, loaded.state_dict().values(), theirs.state_dict().values()))


def test_a_second_export_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, decoder(KINDS["gpt2"]))
    exported(checkpoint, tmp_path / "out", KINDS["gpt2"], max_shard_size="30KB")
    exported(checkpoint, tmp_path / "out", KINDS["gpt2"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@torch.no_grad()
def test_half_precision_is_the_rounded_weights_and_nothing_else(dtype: str, tmp_path: Path) -> None:
    model = decoder(KINDS["llama"])
    exported(write_checkpoint(tmp_path, model), tmp_path / "out", KINDS["llama"], dtype=dtype)
    found = load_file(tmp_path / "out" / "model.safetensors")
    expected = {name: value.to(DTYPES[dtype]) for name, value in to_hugging_face(model).items()}
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    theirs = in_transformers(KINDS["llama"]).eval()
    theirs.load_state_dict(found, strict=False)
    for parameter in model.parameters():
        parameter.copy_(parameter.to(DTYPES[dtype]))
    tokens = some_tokens(2, 32)
    assert (model(tokens) - theirs(tokens).logits).abs().max() < 1e-5


@torch.no_grad()
def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    model = decoder(KINDS["gpt2"])
    assert isinstance(model.norm, torch.nn.LayerNorm)
    model.norm.weight[3] = 70_000.0
    checkpoint = write_checkpoint(tmp_path, model)
    with pytest.raises(
        TsumuguError, match=r"transformer\.ln_f\.weight holds numbers .* float16 ends at 65,504"
    ):
        exported(checkpoint, tmp_path / "out", KINDS["gpt2"], dtype="float16")
    assert not list((tmp_path / "out").iterdir())
    exported(checkpoint, tmp_path / "out", KINDS["gpt2"], dtype="bfloat16")


def test_damaged_checkpoints_and_those_of_another_model_are_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, decoder(KINDS["gpt2"]), processes=2)
    with pytest.raises(TsumuguError, match=r"of another model .*: it has no layers\.0\.mlp\.gate"):
        exported(checkpoint, tmp_path / "out", KINDS["llama"])
    with pytest.raises(TsumuguError, match=r"its embedding\.weight is \[101, 32\] instead of \[90, 32\]"):
        exported(checkpoint, tmp_path / "out", KINDS["gpt2"], vocab_size=90)
    shard = checkpoint / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(TsumuguError, match=r"shard-00001\.safetensors is not what was written"):
        exported(checkpoint, tmp_path / "out", KINDS["gpt2"])


_MEASURE = """
import ctypes, gc, json, re, sys
from pathlib import Path
import torch
from tsumugu.model.config import ModelConfig
from tsumugu.release.weights import export_weights

def kilobytes(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

folder, config = Path(sys.argv[1]), ModelConfig.model_validate_json(sys.argv[2])
torch.set_num_threads(1)
peaks = {}
for dtype in ("float16", "float32", "bfloat16"):  # the first one brings all libraries in
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is not there to be used again
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    (folder / dtype).mkdir()
    export_weights(folder / "step-1", folder / dtype, config, vocab_size=24_000, dtype=dtype,
                   max_shard_size="60MB")
    peaks[dtype] = 1024 * (kilobytes("VmHWM") - before)
del peaks["float16"]
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_export_takes_less_memory_than_one_and_a_half_of_its_largest_file(tmp_path: Path) -> None:
    config = ModelConfig(architecture="gpt2", num_hidden_layers=12, hidden_size=512, num_attention_heads=8)
    model = Decoder(config, 24_000)
    initialize(model, 0)
    write_checkpoint(tmp_path, model, processes=2)
    del model
    result = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path), config.model_dump_json()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    for dtype, peak in json.loads(result.stdout).items():
        sizes = [path.stat().st_size for path in (tmp_path / dtype).glob("*.safetensors")]
        print(f"{dtype}: {peak / 1e6:.0f} MB of memory for {sum(sizes) / 1e6:.0f} MB in {len(sizes)} files")
        assert len(sizes) > 1
        assert 0 < peak < 1.5 * max(sizes), dtype


def test_a_decoder_of_the_released_weights_is_the_decoder_that_was_trained(tmp_path: Path) -> None:
    from tsumugu.release.adapter import TheirWeights

    model = decoder(KINDS["llama, grouped, untied"])
    checkpoint = write_checkpoint(tmp_path, model, processes=3)
    exported(checkpoint, tmp_path / "out", model.config, max_shard_size="30KB")
    weights = TheirWeights(read_weights(tmp_path / "out"), model.config)
    back = Decoder(model.config, weights.vocab_size)
    weights.fill(back)
    assert all(map(torch.equal, back.parameters(), model.parameters()))
