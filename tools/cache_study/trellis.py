"""Trellis-coded quantisation of Gaussian coordinates at whole bits each, against Lloyd-Max with as many.

    python tools/cache_study/trellis.py            trains, then prints the distortion of fresh vectors

A vector of D coordinates becomes D * BITS bits in a ring. The value of coordinate i is one look-up: TABLE[the WINDOW bits that end with
its own BITS], so any coordinate decodes alone. Neighbouring windows share bits; the encoder finds the best ring (Viterbi's algorithm, run
twice: first for the bits where the ring closes, then with those given, so the result is near the best, not the best). Sources: bitshift
trellis, QTIP (arXiv 2406.11235); tables by Lloyd's iteration over what each window codes.
"""
import argparse
import math

import torch

DIM = 128


def viterbi(x, table, bits, seam=None):
    """Windows [N, D] of the best path through x [N, D]; with seam [N], of the best one that begins and ends with those bits."""
    n, dim = x.shape
    window = int(math.log2(len(table)))
    low = 1 << (window - bits)  # what a window shares with the next
    if seam is None:
        best = torch.zeros(n, low)
    else:
        best = torch.full((n, low), 1e9).scatter_(1, seam[:, None], 0.0)
    back = []
    for i in range(dim):
        cost = best.repeat_interleave(1 << bits, 1) + (x[:, i, None] - table).square()
        best, chosen = cost.view(n, 1 << bits, low).min(1)  # the window's lower bits go on
        back.append(chosen)
    end = best.argmin(1) if seam is None else seam
    windows = torch.empty(n, dim, dtype=torch.long)
    for i in reversed(range(dim)):
        windows[:, i] = back[i].gather(1, end[:, None])[:, 0] * low + end
        end = windows[:, i] >> bits
    return windows


def encode(x, table, bits):
    window = int(math.log2(len(table)))
    half = x.shape[1] // 2
    turned = viterbi(torch.cat((x[:, half:], x[:, :half]), 1), table, bits)
    seam = turned[:, half - 1] & ((1 << (window - bits)) - 1)  # what the first window shares with the last
    return viterbi(x, table, bits, seam)


def train(bits, window, n=1500, rounds=30, seed=0):
    g = torch.Generator().manual_seed(seed)
    size = 1 << window
    quantiles = (torch.arange(size) + 0.5) / size
    table = math.sqrt(2) * torch.erfinv(2 * quantiles - 1)
    # Windows that go on from the same bits differ in their last BITS: these spread over the whole range, in an order that differs.
    order = torch.argsort(torch.rand(size >> bits, generator=g))
    spread = torch.empty(size)
    for rest in range(size >> bits):
        spread[rest << bits : (rest + 1) << bits] = table.view(1 << bits, size >> bits)[:, order[rest]]
    table = spread
    for r in range(rounds):
        x = torch.randn(n, DIM, generator=g)
        w = encode(x, table, bits).flatten()
        count = torch.bincount(w, minlength=size)
        total = torch.zeros(size).scatter_add_(0, w, x.flatten())
        table = torch.where(count > 0, total / count.clamp_min(1), table)
    return table


def lloyd_max(bits):
    t = torch.linspace(-7, 7, 200001, dtype=torch.float64)
    density = torch.exp(-t * t / 2)
    mass, moment = density.cumsum(0), (density * t).cumsum(0)
    x = torch.linspace(-2.5, 2.5, 1 << bits, dtype=torch.float64)
    for _ in range(4000):
        cut = torch.cat((torch.tensor([0]), torch.searchsorted(t, (x[1:] + x[:-1]) / 2), torch.tensor([len(t) - 1])))
        x = moment[cut].diff() / mass[cut].diff()
    edges = (x[1:] + x[:-1]) / 2
    return x.float(), ((t - x[torch.bucketize(t, edges)]).square() * density).sum().item() / density.sum().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, nargs="*", default=[2, 3, 4])
    parser.add_argument("--windows", type=int, nargs="*", default=[6, 8, 10])
    parser.add_argument("--test", type=int, default=4000, help="fresh vectors of 128")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    fresh = torch.randn(options.test, DIM, generator=torch.Generator().manual_seed(99))
    for bits in options.bits:
        scalar = lloyd_max(bits)[1]
        print(f"{bits} bits: Lloyd-Max {scalar:.5f}, Shannon {4.0**-bits:.5f}", flush=True)
        for window in options.windows:
            if window <= bits:
                continue
            table = train(bits, window, rounds=options.rounds)
            grid = (table / table.abs().max() * 127).round() * table.abs().max() / 127
            for name, t in (("", table), (" on int8", grid)):
                error = (fresh - t[encode(fresh, t, bits)]).square().mean().item()
                print(f"  window of {window:2} bits{name:8}: {error:.5f}, {error / scalar:.3f} of Lloyd-Max", flush=True)


if __name__ == "__main__":
    main()
