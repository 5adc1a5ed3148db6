"""Which precision products are computed in."""

import pytest
import torch

from tsumugu.errors import TsumuguError
from tsumugu.training.device import product_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_it_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *, including_emulation: native)
    assert product_dtype("auto", GPU) == expected
    assert product_dtype("auto", CPU) == torch.float32


def test_what_is_asked_for_is_used() -> None:
    assert product_dtype("bfloat16", CPU) == torch.bfloat16
    assert product_dtype("float32", GPU) == torch.float32


def test_float8_on_a_cpu_is_refused() -> None:
    with pytest.raises(TsumuguError, match="choose auto"):
        product_dtype("float8", CPU)
