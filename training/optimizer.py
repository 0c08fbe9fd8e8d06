"""Muon for the matrices of the layers, AdamW for embeddings and norms, under one learning rate.

Muon (K. Jordan et al., 2024) replaces a matrix's averaged gradient by its nearest orthogonal matrix, found with five Newton-Schulz
steps; scaled by 0.2 sqrt(larger side) as in "Muon is scalable for LLM training" (arXiv 2502.16982) its updates are as large as AdamW's.
"""
import torch


def orthogonalised(matrices):
    """The orthogonal factor of each matrix of [n, rows, columns], roughly: singular values end between 0.7 and 1.2."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Optimizer:
    def __init__(self, model, weight_decay=0.05, momentum=0.95):
        named = list(model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embed_tokens" not in name]
        self.groups = {}  # matrices of one shape are updated together
        for p in matrices:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.momenta = {shape: torch.zeros(len(group), *shape, device=group[0].device) for shape, group in self.groups.items()}
        self.momentum, self.weight_decay = momentum, weight_decay
        others = [p for name, p in named if p.ndim != 2 or "embed_tokens" in name]
        self.adam = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, fused=others[0].is_cuda)

    @torch.no_grad()
    def step(self, rate):
        for shape, group in self.groups.items():
            group = [p for p in group if p.grad is not None]
            if not group:
                continue
            momentum = self.momenta[shape][: len(group)]
            gradient = torch.stack([p.grad for p in group])
            momentum.lerp_(gradient, 1 - self.momentum)
            update = orthogonalised(gradient.lerp_(momentum, self.momentum))
            torch._foreach_mul_(group, 1 - rate * self.weight_decay)
            torch._foreach_add_(group, list(update.unbind()), alpha=-rate * 0.2 * max(shape) ** 0.5)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        for group in self.groups.values():
            for p in group:
                p.grad = None
        self.adam.zero_grad(set_to_none=True)

    def state(self):
        return {"momenta": list(self.momenta.values()), "adam": self.adam.state_dict()}

    def load(self, state):
        for mine, theirs in zip(self.momenta.values(), state["momenta"], strict=True):
            mine.copy_(theirs)
        self.adam.load_state_dict(state["adam"])
