"""Attention with masks, and by a kernel that takes documents one by one."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tsumugu.model.attention import Documents, attend, causal_scope, documents_of

BATCH, LENGTH = 3, 16
CPU = torch.device("cpu")


def by_the_kernel(q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, *_: int, **__: Any) -> Tensor:
    """What flash attention does: of every document, the last query stands at the last key."""
    out = torch.full_like(q, torch.nan)
    for number in range(len(cu_q) - 1):
        queries, keys = slice(*cu_q[number : number + 2]), slice(*cu_k[number : number + 2])
        some_q, some_k, some_v = (part.transpose(0, 1) for part in (q[queries], k[keys], v[keys]))
        count, seen = some_q.shape[1], some_k.shape[1]
        mask = torch.ones(count, seen, dtype=torch.bool).tril(seen - count)
        out[queries] = F.scaled_dot_product_attention(
            some_q, some_k, some_v, attn_mask=mask, enable_gqa=True
        ).transpose(0, 1)
    return out


def documents() -> Documents:
    begins = [0, 3, 4, 12, 16, 32, 40, 41]
    return documents_of(torch.tensor([*begins, BATCH * LENGTH], dtype=torch.int32), (BATCH, LENGTH))


@pytest.mark.parametrize("within", [None, documents()], ids=["whole rows", "documents"])
@pytest.mark.parametrize(
    "places", [range(LENGTH), range(4), range(4, 8), range(8, 12), range(12, 16)], ids=str
)
def test_the_kernel_for_documents_sees_what_a_mask_shows(
    monkeypatch: pytest.MonkeyPatch, places: range, within: Documents | None
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", by_the_kernel)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(BATCH, 4, len(places), 8, generator=generator)
    k, v = torch.randn(2, BATCH, 2, places.stop, 8, generator=generator)
    found, expected = (
        attend(q, k, v, causal_scope(places, BATCH, within, by_boundaries=kernel, device=CPU))
        for kernel in (True, False)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("within", [None, documents()], ids=["whole rows", "documents"])
def test_some_places_of_a_row_are_attended_to_as_in_the_whole(within: Documents | None) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, BATCH, 2, LENGTH, 8, generator=generator)
    whole = attend(q, k, v, causal_scope(range(LENGTH), BATCH, within, by_boundaries=False, device=CPU))
    for places in (range(4), range(8, 12)):
        scope = causal_scope(places, BATCH, within, by_boundaries=False, device=CPU)
        part = attend(
            q[:, :, places.start : places.stop], k[:, :, : places.stop], v[:, :, : places.stop], scope
        )
        torch.testing.assert_close(part, whole[:, :, places.start : places.stop])
