"""Two processes that hold a part of every matrix each: the same first weights, the same loss."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Placement, Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn

from decoders import KINDS, VOCABULARY
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize
from tsumugu.model.loss import IGNORED, linear_cross_entropy

PROCESSES = 2


def _draw_shards() -> None:
    mesh = init_device_mesh("cpu", (PROCESSES,))
    config = KINDS["gpt2, untied, three heads"]
    whole, sharded = Decoder(config, VOCABULARY), Decoder(config, VOCABULARY)
    initialize(whole, 0)
    for number, (name, parameter) in enumerate(list(sharded.named_parameters())):
        # Rows of one matrix, columns of the next; 101 rows do not divide by two.
        placement: Placement = Shard(number % parameter.dim())
        module, _, kind = name.rpartition(".")
        shards = distribute_tensor(parameter.detach(), mesh, [placement])
        setattr(sharded.get_submodule(module), kind, torch.nn.Parameter(shards))
    initialize(sharded, 0)
    expected = dict(whole.named_parameters())
    for name, parameter in sharded.named_parameters():
        assert torch.equal(parameter.full_tensor(), expected[name]), name  # type: ignore[attr-defined]


def _share_a_vocabulary(rank: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 16, generator=generator).requires_grad_()
    weight = torch.randn(96, 16, generator=generator).requires_grad_()
    targets = torch.randint(0, 96, (50,), generator=generator)
    targets[[0, 7]] = IGNORED
    expected = linear_cross_entropy(hidden, weight, targets, z_loss=1e-2)
    of_hidden, of_weight = torch.autograd.grad(expected, (hidden, weight))

    rows = weight.detach().chunk(PROCESSES)[rank].requires_grad_()
    assert dist.group.WORLD is not None
    loss = linear_cross_entropy(hidden, rows, targets, z_loss=1e-2, group=dist.group.WORLD, chunk=7)
    torch.testing.assert_close(loss, expected)
    part_of_hidden, of_rows = torch.autograd.grad(loss, (hidden, rows))
    dist.all_reduce(part_of_hidden)
    torch.testing.assert_close(part_of_hidden, of_hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_rows, of_weight.chunk(PROCESSES)[rank], rtol=1e-4, atol=1e-5)


def _process(rank: int, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=PROCESSES)
    _draw_shards()
    _share_a_vocabulary(rank)
    dist.destroy_process_group()


def test_processes_with_shards_draw_the_same_weights_and_share_the_loss(tmp_path: Path) -> None:
    spawn(_process, (str(tmp_path / "meeting"),), PROCESSES)  # type: ignore[no-untyped-call]
