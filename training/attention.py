"""Attention inside packed rows: a token sees the earlier tokens of its own document. Three ways, equal in result."""
import torch
import torch.nn.functional as F

BLOCK = 128


def dense(documents):
    """A mask [B, 1, T, T] for scaled_dot_product_attention: any device, for tests and small runs."""
    same = documents[:, :, None] == documents[:, None, :]
    mask = (same & torch.ones(same.shape[1:], dtype=torch.bool, device=same.device).tril())[:, None]
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def block_mask(documents):
    """FlexAttention's block mask of ascending document numbers [B, T]: built from each block's first and last document."""
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


def flex(documents):
    """FlexAttention; to be called inside a compiled function. The block mask is built outside of it."""
    from torch.nn.attention.flex_attention import flex_attention

    mask = documents if not torch.is_tensor(documents) else block_mask(documents)
    return lambda q, k, v: flex_attention(q, k, v, block_mask=mask, enable_gqa=True)


def document_starts(documents, n_documents):
    """Cumulative lengths [n_documents + 1] of the documents of all rows, padded with empty documents at the end."""
    B, T = documents.shape
    change = torch.ones(B, T, dtype=torch.bool, device=documents.device)
    change[:, 1:] = documents[:, 1:] != documents[:, :-1]
    starts = torch.full((n_documents + 1,), B * T, dtype=torch.int32, device=documents.device)
    found = change.flatten().nonzero()[:, 0].int()
    starts[: len(found)] = found
    return starts


def varlen(starts, row_length):
    """Flash attention over documents laid end to end (CUDA only)."""
    from torch.nn.attention.varlen import varlen_attn

    def attend(q, k, v):
        B, H, T, D = q.shape
        flat = [x.transpose(1, 2).reshape(B * T, -1, D) for x in (q, k, v)]
        out = varlen_attn(*flat, starts, starts, row_length, row_length, window_size=(-1, 0))
        return out.view(B, T, H, D).transpose(1, 2)

    return attend
