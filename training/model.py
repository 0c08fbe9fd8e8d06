"""The model in PyTorch: Qwen3's dense decoder with tied embeddings, and one multi-token-prediction layer that reads its last state.

Parameter names are those of a Qwen3 checkpoint (model.layers.0.self_attn.q_proj.weight, ...); the extra layer is under `mtp.`.
Sources: Qwen3 technical report (arXiv 2505.09388), DeepSeek-V3 (arXiv 2412.19437) section 2.2 for the extra layer.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Shape:
    vocab_size: int = 8192
    dim: int = 320
    n_layers: int = 12
    n_heads: int = 8
    n_kv_heads: int = 2
    head_dim: int = 128
    ffn_dim: int = 640
    max_context: int = 8192
    rope_theta: float = 1e6
    norm_eps: float = 1e-6


TINY = Shape(vocab_size=1024, dim=64, n_layers=3, n_heads=4, n_kv_heads=1, head_dim=32, ffn_dim=128, max_context=512, rope_theta=1e4)


class Norm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps) * self.weight).to(x.dtype)


class Linear(nn.Module):
    """Weights are kept in float32 and used in the type of the activations."""

    def __init__(self, n_in, n_out, std=0.02):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) * std)

    def forward(self, x):
        return linear(x, self.weight)


def linear(x, *weights):
    """x times the rows of all the weights, laid one after the other."""
    weight = weights[0] if len(weights) == 1 else torch.cat(weights)
    return F.linear(x, weight.to(x.dtype))


def rotary(positions, shape):
    """cos and sin [..., T, D/2] of the positions [..., T]."""
    frequencies = shape.rope_theta ** -(torch.arange(0, shape.head_dim, 2, device=positions.device, dtype=torch.float32) / shape.head_dim)
    angles = positions[..., None].float() * frequencies
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """x [B, heads, T, D], cos and sin [T, D/2] or [B, 1, T, D/2]; the halves of a head form the pairs."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        q_dim, kv_dim = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
        self.q_proj, self.k_proj, self.v_proj = (Linear(shape.dim, n) for n in (q_dim, kv_dim, kv_dim))
        self.o_proj = Linear(q_dim, shape.dim, 0.02 / (2 * shape.n_layers) ** 0.5)
        self.q_norm, self.k_norm = Norm(shape.head_dim, shape.norm_eps), Norm(shape.head_dim, shape.norm_eps)

    def forward(self, x, rope, attend):
        """`attend(q, k, v)` sees q [B, H, T, D] and k, v [B, K, T, D] and gives [B, H, T, D]."""
        B, T, _ = x.shape
        shape = self.shape
        heads = linear(x, self.q_proj.weight, self.k_proj.weight, self.v_proj.weight).view(B, T, -1, shape.head_dim)
        q, k, v = heads.split((shape.n_heads, shape.n_kv_heads, shape.n_kv_heads), dim=2)
        q, k = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2)
        out = attend(rotate(q, *rope), rotate(k, *rope), v.transpose(1, 2))
        return self.o_proj(out.transpose(1, 2).reshape(B, T, -1))


class Ffn(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj, self.up_proj = Linear(shape.dim, shape.ffn_dim), Linear(shape.dim, shape.ffn_dim)
        self.down_proj = Linear(shape.ffn_dim, shape.dim, 0.02 / (2 * shape.n_layers) ** 0.5)

    def forward(self, x):
        gate, up = linear(x, self.gate_proj.weight, self.up_proj.weight).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_layernorm = Norm(shape.dim, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.dim, shape.norm_eps)
        self.mlp = Ffn(shape)

    def forward(self, x, rope, attend):
        x = x + self.self_attn(self.input_layernorm(x), rope, attend)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.dim)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.n_layers))
        self.norm = Norm(shape.dim, shape.norm_eps)


class Mtp(nn.Module):
    """From the state at position t and the embedding of token t+1, the state that predicts token t+2."""

    def __init__(self, shape):
        super().__init__()
        self.pre_fc_norm_embedding, self.pre_fc_norm_hidden = Norm(shape.dim, shape.norm_eps), Norm(shape.dim, shape.norm_eps)
        self.fc = Linear(2 * shape.dim, shape.dim)
        self.layers = nn.ModuleList([Layer(shape)])
        self.norm = Norm(shape.dim, shape.norm_eps)

    def forward(self, embedded_next, state, rope, attend):
        x = self.fc(torch.cat((self.pre_fc_norm_embedding(embedded_next), self.pre_fc_norm_hidden(state)), dim=-1))
        return self.norm(self.layers[0](x, rope, attend))


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape, self.model, self.mtp = shape, Trunk(shape), Mtp(shape)
        self.compute_type = torch.float32  # of activations

    def embed(self, tokens):
        return self.model.embed_tokens(tokens).to(self.compute_type)

    def states(self, tokens, rope, attend):
        """(states before the last norm, normed states) [B, T, C]; `attend` may be one function or one per layer."""
        x = self.embed(tokens)
        for i, layer in enumerate(self.model.layers):
            x = layer(x, rope, attend[i] if isinstance(attend, list) else attend)
        return x, self.model.norm(x)

    def logits(self, states):
        return linear(states, self.model.embed_tokens.weight)

    def losses(self, tokens, weights, rope, attend, with_mtp):
        """(weighted mean loss of the next token, of the one after it or 0). weights [B, T]: of predicting the token at that place.

        The extra layer learns beside the trunk without changing it: its inputs and the head it shares are cut from the gradient.
        """
        state, normed = self.states(tokens, rope, attend)
        main = weighted_loss(self.logits(normed[:, :-1]), tokens[:, 1:], weights[:, 1:])
        if not with_mtp:
            return main, main.new_zeros(())
        embedded = self.embed(torch.roll(tokens, -1, dims=1)).detach()
        ahead = self.mtp(embedded, state.detach(), rope, attend)
        logits = linear(ahead[:, :-2], self.model.embed_tokens.weight.detach())
        # A place counts when both tokens after it belong to its document: the weight of a document's first token is 0.
        return main, weighted_loss(logits, tokens[:, 2:], weights[:, 2:] * (weights[:, 1:-1] > 0))


def weighted_loss(logits, targets, weights):
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return (loss * weights.flatten()).sum() / weights.sum().clamp_min(1e-6)


def causal(q, k, v):
    """Plain causal attention of whole rows."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
