"""The chunked loss against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tsumugu.model.loss import IGNORED, linear_cross_entropy

TOKENS, WIDTH, VOCABULARY = 50, 16, 97


def example(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, matrix and targets, a few of which do not count."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
    targets = torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)
    targets[[0, 7, 8, TOKENS - 1]] = IGNORED
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def by_hand(hidden: Tensor, weight: Tensor, targets: Tensor, *, z_loss: float) -> Tensor:
    """All logits at once."""
    logits = hidden @ weight.T
    counted = targets != IGNORED
    denominators = logits.exp().sum(dim=1).log()
    entropies = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return entropies + z_loss * (denominators[counted] ** 2).sum()


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
@pytest.mark.parametrize("chunk", [None, 1, 7, 50, 64])
def test_loss_and_gradients_are_those_of_all_logits_at_once(chunk: int | None, z_loss: float) -> None:
    hidden, weight, targets = example()
    expected = by_hand(hidden, weight, targets, z_loss=z_loss)
    loss = linear_cross_entropy(hidden, weight, targets, z_loss=z_loss, chunk=chunk)
    torch.testing.assert_close(loss, expected)
    wanted = torch.autograd.grad(expected, (hidden, weight))
    found = torch.autograd.grad(loss, (hidden, weight))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_hidden_states_that_are_not_contiguous_are_as_good() -> None:
    hidden, weight, targets = example()
    turned = hidden.detach().T.contiguous().T.requires_grad_()
    expected = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets, chunk=7), hidden)
    found = torch.autograd.grad(linear_cross_entropy(turned, weight, targets, chunk=7), turned)
    torch.testing.assert_close(found, expected)


def test_targets_that_are_all_ignored_cost_nothing_and_teach_nothing() -> None:
    hidden, weight, targets = example()
    loss = linear_cross_entropy(hidden, weight, targets.fill_(IGNORED), z_loss=0.1, chunk=7)
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert hidden.grad is not None
    assert weight.grad is not None
    assert not hidden.grad.any()
    assert not weight.grad.any()


def test_huge_logits_do_not_overflow() -> None:
    hidden, weight, targets = example()
    hidden, weight = hidden.detach() * 1000, weight.detach()
    loss = linear_cross_entropy(hidden, weight, targets, chunk=7)
    expected = F.cross_entropy(hidden @ weight.T, targets, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(loss, expected)


def test_without_gradients_the_loss_is_the_same_and_has_none() -> None:
    hidden, weight, targets = example()
    expected = linear_cross_entropy(hidden, weight, targets, chunk=7)
    with torch.no_grad():
        loss = linear_cross_entropy(hidden, weight, targets, chunk=7)
    assert torch.equal(loss, expected)
    assert not loss.requires_grad


def test_a_factor_on_the_loss_is_one_on_the_gradients() -> None:
    hidden, weight, targets = example()
    once = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets), (hidden, weight))
    third = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets) / 3, (hidden, weight))
    torch.testing.assert_close(third, tuple(gradient / 3 for gradient in once))


def test_the_backward_pass_can_be_walked_twice() -> None:
    hidden, weight, targets = example()
    loss = linear_cross_entropy(hidden, weight, targets)
    first = torch.autograd.grad(loss, (hidden, weight), retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, (hidden, weight))))


def test_frozen_sides_get_no_gradient() -> None:
    hidden, weight, targets = example()
    torch.autograd.backward(linear_cross_entropy(hidden.detach(), weight, targets))
    torch.autograd.backward(linear_cross_entropy(hidden, weight.detach(), targets))
    assert hidden.grad is not None
    assert weight.grad is not None


def test_half_precision_is_near_and_its_gradients_have_the_precision_of_what_they_belong_to() -> None:
    hidden, weight, targets = example()
    expected = by_hand(hidden, weight, targets, z_loss=1e-2)
    wanted = torch.autograd.grad(expected, (hidden, weight))
    low = [tensor.detach().bfloat16().requires_grad_() for tensor in (hidden, weight)]
    loss = linear_cross_entropy(low[0], low[1], targets, z_loss=1e-2, chunk=7)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    for gradient, exact in zip(torch.autograd.grad(loss, low), wanted, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert (gradient - exact).norm() < 0.02 * exact.norm()


def test_autocast_multiplies_in_half_precision_and_keeps_full_gradients() -> None:
    hidden, weight, targets = example()
    expected = by_hand(hidden, weight, targets, z_loss=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, targets, chunk=7)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    assert loss.item() != pytest.approx(expected.item(), rel=1e-6)
    assert {g.dtype for g in torch.autograd.grad(loss, (hidden, weight))} == {torch.float32}


def test_half_precision_does_not_round_the_factor_of_the_loss() -> None:
    hidden, weight, targets = example()
    low = hidden.detach().bfloat16().requires_grad_()
    loss = linear_cross_entropy(low, weight.detach().bfloat16(), targets)
    (once,) = torch.autograd.grad(loss, low, retain_graph=True)
    # Between 1 and the next number of bfloat16.
    (scaled,) = torch.autograd.grad(loss, low, torch.tensor(1.003))
    assert torch.equal(scaled, (once.float() * 1.003).bfloat16())
    assert not torch.equal(scaled, once)
