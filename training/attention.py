"""Attention inside packed rows: a token sees the earlier tokens of its own document. Three ways, equal in result.

A batch's documents, numbered upwards in each row, become a `layout` outside the compiled step; inside, `attend` takes it.
"""
import torch
import torch.nn.functional as F

BLOCK = 128
KINDS = ("flex", "varlen", "dense")


def layout(kind, documents):
    """What `attend` needs of documents [B, T]: their numbers, where they start, or FlexAttention's block mask."""
    return {"dense": lambda x: x, "varlen": document_starts, "flex": block_mask}[kind](documents)


def attend(kind, layout, longest):
    """A function of q [B, H, T, D] and k, v [B, K, T, D] that gives [B, H, T, D]; no document is longer than `longest`."""
    return {"dense": dense, "varlen": varlen, "flex": flex}[kind](layout, longest)


def dense(documents, _longest):
    """Masked attention: any device, for tests and small runs."""
    same = documents[:, :, None] == documents[:, None, :]
    mask = (same & torch.ones(same.shape[1:], dtype=torch.bool, device=same.device).tril())[:, None]
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def document_starts(documents):
    """Cumulative lengths [n + 1] of the n documents of all rows, laid end to end. Exact: kernels pay for every entry."""
    change = torch.ones_like(documents, dtype=torch.bool)
    change[:, 1:] = documents[:, 1:] != documents[:, :-1]
    found = change.flatten().nonzero()[:, 0].int()
    starts = torch.cat((found, found.new_tensor([documents.numel()])))
    torch._dynamo.maybe_mark_dynamic(starts, 0)
    return starts


def varlen(starts, longest):
    """Flash attention over documents laid end to end (CUDA only)."""
    from torch.nn.attention.varlen import varlen_attn

    def attend(q, k, v):
        B, H, T, D = q.shape
        flat = [x.transpose(1, 2).reshape(B * T, -1, D) for x in (q, k, v)]
        out = varlen_attn(*flat, starts, starts, longest, longest, window_size=(-1, 0))
        return out.view(B, T, H, D).transpose(1, 2)

    return attend


def block_mask(documents):
    """FlexAttention's block mask, built from each block's first and last document."""
    from torch.nn.attention.flex_attention import BlockMask

    B, T = documents.shape
    n = T // BLOCK
    first, last = documents[:, ::BLOCK], documents[:, BLOCK - 1 :: BLOCK]
    earlier = torch.ones(n, n, dtype=torch.bool, device=documents.device).tril(-1)
    diagonal = torch.eye(n, dtype=torch.bool, device=documents.device)
    full = earlier & (first[:, None, :] == last[:, :, None])  # key block and query block lie in one document
    partial = (earlier | diagonal) & (last[:, None, :] >= first[:, :, None]) & ~full

    def ordered(blocks):
        return blocks.sum(-1, dtype=torch.int32)[:, None], blocks.int().argsort(dim=-1, descending=True, stable=True).int()[:, None]

    def mask(b, h, q, k):
        return (q >= k) & (documents[b, q] == documents[b, k])

    return BlockMask.from_kv_blocks(*ordered(partial), *ordered(full), BLOCK_SIZE=BLOCK, mask_mod=mask, seq_lengths=(T, T))


def flex(mask, _longest):
    """FlexAttention; to be called inside a compiled function, with a mask built outside of it."""
    from torch.nn.attention.flex_attention import flex_attention

    return lambda q, k, v: flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
