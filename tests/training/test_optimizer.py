"""Which parameters decay; Muon's formula; and that processes which share matrices compute the same."""

import copy
import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Placement, Shard, distribute_tensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.multiprocessing.spawn import start_processes

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize
from tsumugu.training import muon
from tsumugu.training.config import OptimizerConfig
from tsumugu.training.muon import COEFFICIENTS, Muon, newton_schulz, orthogonal_update
from tsumugu.training.optimizer import build_optimizer, set_learning_rate

GPT2 = ModelConfig(
    architecture="gpt2",
    num_hidden_layers=1,
    hidden_size=16,
    num_attention_heads=2,
    max_position_embeddings=32,
    tie_word_embeddings=False,
)
LLAMA = ModelConfig(
    architecture="llama",
    num_hidden_layers=3,
    hidden_size=24,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=26,
    qk_norm=True,
)
MUON = OptimizerConfig(name="muon", learning_rate=0.01, muon_learning_rate=0.03, weight_decay=0.5)
MATRICES_OF_LLAMA = 3 * (3 + 1 + 3)
"""Per layer: queries, keys, values; output; gate, up, down."""


def decoder(config: ModelConfig) -> Decoder:
    model = Decoder(config, 50)
    initialize(model, 0)
    return model


def names(model: nn.Module, group: dict[str, Any]) -> set[str]:
    return {name for name, p in model.named_parameters() if any(p is own for own in group["params"])}


def gradient(name: str, shape: torch.Size, step: int) -> Tensor:
    seed = sum(name.encode()) + 1000 * step
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_only_the_matrices_of_layers_decay() -> None:
    model = decoder(GPT2)
    optimizer = build_optimizer(model.named_parameters(), OptimizerConfig(learning_rate=0.1), model=GPT2)
    decayed, free = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0
    matrices = {"attention.qkv", "attention.output", "mlp.up", "mlp.down"}
    assert names(model, decayed) == {f"layers.0.{name}.weight" for name in matrices}
    assert names(model, free) == {name for name, _ in model.named_parameters()} - names(model, decayed)
    assert {"embedding.weight", "position_embedding.weight", "head.weight"} <= names(model, free)


def test_names_of_wrapped_layers_are_understood() -> None:
    weight = nn.Parameter(torch.zeros(3, 2))
    name = "_orig_mod.layers.0._checkpoint_wrapped_module.mlp.up.weight"
    config = OptimizerConfig(learning_rate=0.1)
    assert build_optimizer([(name, weight)], config, model=GPT2).param_groups[0]["params"] == [weight]


def test_muon_takes_what_decays_and_every_group_keeps_its_ratio() -> None:
    model = decoder(LLAMA)
    optimizer = build_optimizer(model.named_parameters(), MUON, model=LLAMA)
    fused, single, rest = optimizer.param_groups
    assert names(model, fused) == {f"layers.{layer}.attention.qkv.weight" for layer in range(3)}
    assert {p.dim() for p in single["params"]} == {2}
    assert not any("layers" in name and "norm" not in name for name in names(model, rest))
    set_learning_rate(optimizer, 0.002)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.006, 0.006, 0.002])


def orthogonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quintic iteration on the singular values themselves."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return np.asarray(0.2 * np.sqrt(max(matrix.shape)) * (u * s) @ v)


@pytest.mark.parametrize(
    ("ns_steps", "least", "low", "high"),
    [(5, 0.002, 0.68, 1.21), (3, 0.01, 0.72, 1.28)],
)
def test_few_steps_bring_singular_values_near_one_from_their_least_on(
    ns_steps: int, least: float, low: float, high: float
) -> None:
    values = torch.logspace(-6, 0, 4001, dtype=torch.float64).tolist()
    found = {value: value for value in values}
    for a, b, c in COEFFICIENTS[ns_steps]:
        found = {value: x * (a + b * x**2 + c * x**4) for value, x in found.items()}
    assert all(low < x < high for value, x in found.items() if value >= least)
    largest = math.prod(a for a, _, _ in COEFFICIENTS[ns_steps])
    assert all(value < x < high and x <= largest * value for value, x in found.items() if value < least)
    # The matrix follows its singular values, which are normalized by the root of the sum of their squares.
    s = torch.tensor([1.0, 0.5, 0.1, 0.01])
    u, v = (
        torch.linalg.qr(torch.randn(size, 4, generator=torch.Generator().manual_seed(1)))[0]
        for size in (9, 6)
    )
    expected = s / s.norm() / (1.01 if ns_steps == 3 else 1.0)
    for a, b, c in COEFFICIENTS[ns_steps]:
        expected = expected * (a + b * expected**2 + c * expected**4)
    torch.testing.assert_close(
        newton_schulz(u @ s.diag() @ v.T, ns_steps), u @ expected.diag() @ v.T, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("ns_steps", [3, 5])
@pytest.mark.parametrize("noise", [0, 0.02, 0.05, 0.1])
def test_no_singular_value_blows_up_in_bfloat16(ns_steps: int, noise: float) -> None:
    generator = torch.Generator().manual_seed(1)
    rows, columns = (torch.randn(256, generator=generator) for _ in range(2))
    matrix = torch.outer(rows, columns) + noise * torch.randn(256, 256, generator=generator)
    found = newton_schulz(matrix.bfloat16(), ns_steps)
    assert found.dtype == torch.bfloat16
    assert torch.linalg.matrix_norm(found.float(), 2) < 1.3


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_newton_schulz_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(newton_schulz(matrix, 5))
    assert values.min() > 0.3
    assert values.max() < 1.3
    np.testing.assert_allclose(
        orthogonal_update(matrix, None, 5).numpy(), orthogonal(matrix.double().numpy()), atol=1e-5
    )
    assert not newton_schulz(torch.zeros(shape), 5).any()


def test_queries_keys_and_values_are_orthogonal_each_by_themselves() -> None:
    fused = torch.randn(2 * (4 + 2 + 2), 12, generator=torch.Generator().manual_seed(1))
    found = orthogonal_update(fused, (4, 2, 2), 5).numpy()
    queries, keys, values = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 12, 13], [6, 7, 14, 15]
    for rows in (queries, keys, values):
        np.testing.assert_allclose(found[rows], orthogonal(fused.double().numpy()[rows]), atol=1e-5)


def test_muon_follows_its_formula() -> None:
    model = decoder(LLAMA)
    name = "layers.1.mlp.gate.weight"
    parameter = dict(model.named_parameters())[name]
    weight = parameter.detach().double().numpy().copy()
    optimizer = build_optimizer(model.named_parameters(), MUON, model=LLAMA)
    momentum = np.zeros_like(weight)
    for step in (1, 2, 3):
        rate = 0.001 * step
        set_learning_rate(optimizer, rate)
        parameter.grad = gradient(name, parameter.shape, step)
        optimizer.step()
        g = parameter.grad.double().numpy()
        momentum = 0.95 * momentum + 0.05 * g
        weight = weight * (1 - 3 * rate * 0.5) - 3 * rate * orthogonal(0.05 * g + 0.95 * momentum)
        np.testing.assert_allclose(parameter.detach().numpy(), weight, atol=1e-6)
    assert set(optimizer.state[parameter]) == {"momentum_buffer"}


def test_muon_leaves_the_rest_to_adamw() -> None:
    models = [decoder(LLAMA), decoder(LLAMA)]
    optimizers = [
        build_optimizer(model.named_parameters(), config, model=LLAMA)
        for model, config in zip(models, [MUON, OptimizerConfig(learning_rate=0.01)], strict=True)
    ]
    for step in (1, 2):
        for model, optimizer in zip(models, optimizers, strict=True):
            for name, parameter in model.named_parameters():
                parameter.grad = gradient(name, parameter.shape, step)
            optimizer.step()
            optimizer.zero_grad()
    other = dict(models[1].named_parameters())
    rest = optimizers[0].param_groups[-1]
    for name in names(models[0], rest):
        assert torch.equal(dict(models[0].named_parameters())[name], other[name]), name
        assert set(optimizers[0].state[dict(models[0].named_parameters())[name]]) == {
            "step", "exp_avg", "exp_avg_sq",
        }  # fmt: skip


def test_muon_goes_on_from_a_loaded_state() -> None:
    models = [decoder(LLAMA), decoder(LLAMA)]
    first, second = (build_optimizer(model.named_parameters(), MUON, model=LLAMA) for model in models)

    def one_step(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.grad = gradient(name, parameter.shape, step)
        optimizer.step()

    one_step(models[0], first, 1)
    models[1].load_state_dict(models[0].state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for model, optimizer in zip(models, (first, second), strict=True):
        one_step(model, optimizer, 2)
    for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, two)


def by_fsdp(model: Decoder) -> None:
    """Every matrix in four parts, some of them uneven."""
    _fully_shard(model, init_device_mesh("cpu", (4,)))


def by_hsdp(model: Decoder) -> None:
    """Two copies of every matrix, in two parts each."""
    _fully_shard(model, init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))


def by_fsdp_and_tensor(model: Decoder) -> None:
    """Rows in two parts and these in two; or columns in two parts and rows in two."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("shard", "tensor"))
    _cut(model, mesh["tensor"])
    _fully_shard(model, mesh["shard"])


def by_tensor(model: Decoder) -> None:
    """In two parts, twice."""
    _cut(model, init_device_mesh("cpu", (2, 2), mesh_dim_names=("shard", "tensor"))["tensor"])


LAYOUTS: list[Callable[[Decoder], None]] = [by_fsdp, by_hsdp, by_fsdp_and_tensor, by_tensor]
OWNED = {"by_fsdp": 1.0, "by_hsdp": 2.0, "by_fsdp_and_tensor": 1.0, "by_tensor": 2.0}
"""How often all processes together compute every matrix: once per copy."""


def _fully_shard(model: Decoder, mesh: DeviceMesh) -> None:
    for layer in model.layers.values():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _cut(model: Decoder, mesh: DeviceMesh) -> None:
    for name, module in model.layers.named_modules():
        for key, parameter in list(module.named_parameters(recurse=False)):
            if parameter.dim() == 2:
                place: Placement = Shard(1) if name.endswith(("attention.output", "mlp.down")) else Shard(0)
                module.register_parameter(
                    key, nn.Parameter(distribute_tensor(parameter.detach(), mesh, [place]))
                )


def _like(whole: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of `whole`."""
    if not isinstance(parameter, DTensor):
        return whole
    mesh, placements = parameter.device_mesh, parameter.placements
    shape, offset = compute_local_shape_and_global_offset(parameter.shape, mesh, placements)
    slices = tuple(slice(first, first + size) for first, size in zip(offset, shape, strict=True))
    local = whole[slices].contiguous()
    return DTensor.from_local(local, mesh, placements, shape=whole.shape, stride=whole.stride())


def _steps(model: Decoder) -> tuple[torch.optim.Optimizer, dict[str, Tensor]]:
    optimizer = build_optimizer(model.named_parameters(), MUON, model=LLAMA)
    for step in (1, 2):
        for name, parameter in model.named_parameters():
            parameter.grad = _like(gradient(name, parameter.shape, step), parameter)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer, {
        name: p.full_tensor() if isinstance(p, DTensor) else p for name, p in model.named_parameters()
    }


def compare_layouts(rank: int, store: str) -> None:
    """Run in every process: each layout against no layout."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=4)
    computed = [0]

    def counted(matrix: Tensor, ns_steps: int) -> Tensor:
        computed[0] += 1
        return newton_schulz(matrix, ns_steps)

    muon.newton_schulz = counted
    _, expected = _steps(decoder(LLAMA))
    for layout in LAYOUTS:
        model = decoder(LLAMA)
        layout(model)
        computed[0] = 0
        optimizer, found = _steps(model)
        for name, weight in expected.items():
            torch.testing.assert_close(
                found[name], weight, atol=1e-6, rtol=0, msg=f"{layout.__name__}: {name}"
            )
        for parameter in optimizer.param_groups[0]["params"]:
            buffer = optimizer.state[parameter]["momentum_buffer"]
            assert isinstance(buffer, DTensor)
            assert buffer.placements == parameter.placements
        total = torch.tensor(computed[0])
        dist.all_reduce(total)
        assert int(total) == 2 * MATRICES_OF_LLAMA * OWNED[layout.__name__], layout.__name__
    dist.destroy_process_group()


def test_processes_that_share_matrices_compute_each_once_and_the_same(tmp_path: Path) -> None:
    assert isinstance(build_optimizer(decoder(LLAMA).named_parameters(), MUON, model=LLAMA), Muon)
    # Imported once, in the server, and not in each of the four; an optimizer's first step imports dynamo.
    multiprocessing.set_forkserver_preload(["torch.distributed.fsdp", "torch._dynamo", "torch._inductor"])
    start_processes(  # type: ignore[no-untyped-call]
        compare_layouts, (str(tmp_path / "store"),), nprocs=4, start_method="forkserver"
    )
