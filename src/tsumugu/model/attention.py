"""Causal attention by PyTorch's kernels, within documents where their boundaries are given."""

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


def document_mask(documents: Documents, dtype: torch.dtype) -> Tensor | None:
    """`bool [B, 1, T, T]`: who sees whom. None where the kernel takes the boundaries themselves.

    Args:
        documents: the boundaries.
        dtype: of the hidden states.
    """
    if _takes_boundaries(documents.ids.device, dtype):
        return None
    ids = documents.ids
    return (ids[:, :, None] == ids[:, None, :]).tril()[:, None]


def attend(q: Tensor, k: Tensor, v: Tensor, *, documents: Documents | None, mask: Tensor | None) -> Tensor:
    """Causal attention.

    Args:
        q: `[B, H, T, K]`.
        k: `[B, G, T, K]`; H / G query heads share one of its heads.
        v: as `k`.
        documents: as the caller got them; None if all of a row is one.
        mask: of `document_mask(documents)`.

    Returns:
        `[B, H, T, K]`.
    """
    grouped = q.shape[1] != k.shape[1]
    if documents is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    if mask is not None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)
    return _within_documents(q, k, v, documents.cu_seqlens, grouped=grouped)


def _takes_boundaries(device: torch.device, dtype: torch.dtype) -> bool:
    """The kernel for sequences of various lengths is flash attention: GPUs only, and half precision."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    return dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cuda")


def _within_documents(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, *, grouped: bool) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    batch, _, length, _ = q.shape
    q, k, v = (part.transpose(1, 2).flatten(0, 1) for part in (q, k, v))  # [B * T, H or G, K]
    # T bounds the longest document: its true length would have to be fetched from the device.
    out = varlen_attn(
        q, k, v, cu_seqlens, cu_seqlens, length, length, window_size=(-1, 0), enable_gqa=grouped
    )
    assert isinstance(out, Tensor)
    return out.view(batch, length, *out.shape[1:]).transpose(1, 2)
