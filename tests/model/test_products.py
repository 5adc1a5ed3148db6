"""oneDNN's products are the products."""

import pytest
import torch
import torch.nn.functional as F

from tsumugu.model import products
from tsumugu.model.products import Linear, onednn_linear, product


@pytest.mark.parametrize(("width", "out"), [(48, 80), (80, 48)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_are_those_of_pytorch(width: int, out: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(33, width, generator=generator, requires_grad=True)
    weight = torch.randn(out, width, generator=generator, requires_grad=True)
    bias = torch.randn(out, generator=generator, requires_grad=True) if biased else None
    inputs = [x, weight, *([bias] if bias is not None else [])]
    grad = torch.randn(33, out, generator=generator)
    ours, theirs = onednn_linear(x, weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(ours, theirs)
    for found, wanted in zip(
        torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad), strict=True
    ):
        torch.testing.assert_close(found, wanted)
        assert found.is_contiguous()


def test_the_same_numbers_every_time() -> None:
    x, weight = torch.randn(300, 200), torch.randn(100, 200)
    first = onednn_linear(x, weight, None)
    assert all(torch.equal(onednn_linear(x.clone(), weight.clone(), None), first) for _ in range(3))


def test_small_products_other_precisions_and_other_processors_are_left_to_pytorch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "_ONEDNN_IS_FASTER", True)
    large, matrix = torch.ones(512, 256), torch.ones(64, 256)
    assert products._takes_onednn(large, matrix)
    assert not products._takes_onednn(large[:8], matrix)
    assert not products._takes_onednn(large.double(), matrix.double())
    assert not products._takes_onednn(large.to("meta"), matrix.to("meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not products._takes_onednn(large, matrix)
        assert product(large, matrix).dtype == torch.bfloat16
    monkeypatch.setattr(products, "_ONEDNN_IS_FASTER", False)
    assert not products._takes_onednn(large, matrix)


def test_a_layer_keeps_the_shape_of_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_SMALLEST", 0)
    layer = Linear(16, 8)
    x = torch.randn(2, 3, 5, 16)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
