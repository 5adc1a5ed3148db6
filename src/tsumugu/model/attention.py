"""Causal attention by PyTorch's kernels, within documents where their boundaries are given.

What the queries see is worked out once for all layers; the layers then share one mask, or have none.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Documents(NamedTuple):
    """Where the documents of B rows of T tokens begin."""

    ids: Tensor
    """`int32 [B, T]`: a number per document, the same for its tokens and no others."""
    cu_seqlens: Tensor
    """`int32 [n + 1]`: their first places in the B * T flattened tokens, and B * T at the end."""


def documents_of(cu_seqlens: Tensor, shape: tuple[int, int]) -> Documents:
    """From the boundaries alone; every row begins a document."""
    places = torch.arange(shape[0] * shape[1], device=cu_seqlens.device, dtype=cu_seqlens.dtype)
    ids = torch.searchsorted(cu_seqlens, places, right=True, out_int32=True)
    return Documents(ids.view(shape), cu_seqlens)


class Scope(NamedTuple):
    """Which keys the queries of an attention see: those of their own document, up to their own place.

    With nothing given, queries and keys are the same tokens of whole rows, and every row is one document.
    """

    mask: Tensor | None = None
    """`bool [B or 1, 1, Tq, Tk]`, for kernels that must be told of every pair."""
    cu_queries: Tensor | None = None
    """`int32 [n + 1]`, for a kernel that takes n documents one by one: where the queries of each begin in the
    B * Tq flattened ones. A document without queries is none."""
    cu_keys: Tensor | None = None
    """As `cu_queries`. A document's last query stands at its last key."""


def causal_scope(
    places: range,
    batch: int,
    documents: Documents | None,
    *,
    by_boundaries: bool,
    device: torch.device,
) -> Scope:
    """The scope of queries at some places of every row, with keys from the row's first to the last of these.

    Args:
        places: of the queries.
        batch: rows.
        documents: of the whole rows; None if every row is one.
        by_boundaries: as `takes_boundaries` says.
        device: where the scope is needed.
    """
    start, stop = places.start, places.stop
    if documents is None and start == 0:
        return Scope()
    if by_boundaries:
        if documents is None:
            length, begins = stop, torch.arange(batch + 1, dtype=torch.int32, device=device) * stop
        else:
            length, begins = documents.ids.shape[1], documents.cu_seqlens
        row, place = begins // length, begins % length
        queries = row * len(places) + (place - start).clamp(0, len(places))
        return Scope(None, queries, row * stop + place.clamp(max=stop))
    if documents is None:
        return Scope(torch.ones(1, 1, len(places), stop, dtype=torch.bool, device=device).tril(start))
    ids = documents.ids
    same = ids[:, start:stop, None] == ids[:, None, :stop]
    return Scope(same.tril(start)[:, None])


def takes_boundaries(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether there is a kernel for documents of various lengths: flash attention, so GPUs only, half
    precision, and heads that it has.

    Args:
        device: where.
        dtype: of the hidden states.
        head_size: K.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    if head_size % 8 or head_size > 256:
        return False
    return dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cuda")


def attend(q: Tensor, k: Tensor, v: Tensor, scope: Scope) -> Tensor:
    """Causal attention.

    Args:
        q: `[B, H, Tq, K]`.
        k: `[B, G, Tk, K]`; H / G query heads share one of its heads.
        v: as `k`.
        scope: which keys every query sees.

    Returns:
        `[B, H, Tq, K]`.
    """
    grouped = q.shape[1] != k.shape[1]
    if scope.cu_queries is not None and scope.cu_keys is not None:
        return _attend_by_documents(q, k, v, scope.cu_queries, scope.cu_keys, grouped=grouped)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=scope.mask, is_causal=scope.mask is None, enable_gqa=grouped
    )


def _attend_by_documents(
    q: Tensor, k: Tensor, v: Tensor, cu_queries: Tensor, cu_keys: Tensor, *, grouped: bool
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    batch, _, queries, _ = q.shape
    keys = k.shape[2]
    q, k, v = (part.transpose(1, 2).flatten(0, 1) for part in (q, k, v))  # [B * Tq or Tk, H or G, K]
    # Bounds of the longest document: its true length would have to be fetched from the device.
    out = varlen_attn(q, k, v, cu_queries, cu_keys, queries, keys, window_size=(-1, 0), enable_gqa=grouped)
    assert isinstance(out, Tensor)
    return out.view(batch, queries, *out.shape[1:]).transpose(1, 2)
