"""Trains the built-in model, in pieces: each run goes on where the last one stopped.

    python training/train.py --data DIR --out DIR --minutes 8.5

DIR of --data holds what data/prepare.py wrote. --out gets checkpoint.pt, log.jsonl and, at the end, the finished weights in it.
Batches, and so the whole data, are a pure function of the seed; sums on a GPU are not, so two runs agree only closely.
"""
import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "data")]
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

import attention
import mixture
from export import read_model
from model import TINY, Model, Shape, rotary
from optimizer import Optimizer


@dataclass(frozen=True)
class Plan:
    shape: Shape = Shape()
    steps: int = 7000
    rows: int = 16
    row_length: int = 8192
    rate: float = 3e-3
    warmup: int = 150
    decay_from: float = 0.2  # share of the steps after which the rate falls linearly to zero
    short_until: float = 0.7  # share of the steps with contexts up to short_context; after it long ones, and the extra layer learns
    short_context: int = 2048
    stage: str = "first"  # of mixture.STAGES
    seed: int = 1


SECOND = Plan(steps=2800, rate=1.5e-3, warmup=60, decay_from=0.3, short_until=0.6, stage="second")  # goes on from the first stage's file
PLANS = {
    "full": Plan(),
    "second": SECOND,
    "tiny": Plan(shape=TINY, steps=30, rows=2, row_length=512, short_context=256, warmup=5),
    "tiny-second": replace(SECOND, shape=TINY, steps=10, rows=1, row_length=2048, warmup=2),
}


def learning_rate(plan, step):
    left = (plan.steps - step) / (plan.steps * (1 - plan.decay_from))
    return plan.rate * min(1.0, (step + 1) / plan.warmup, left)


def stage(plan, step):
    """(mixture, longest context) of a step; None after the last one."""
    if step >= plan.steps:
        return None
    short, long = mixture.STAGES[plan.stage]
    return (short, plan.short_context) if step < plan.steps * plan.short_until else (long, plan.row_length)


def make_loss(model, kind, compiled):
    """A function of (tokens, weights, rope, layout, longest, with_mtp) that gives both losses."""

    def losses(tokens, weights, rope, layout, longest, with_mtp):
        return model.losses(tokens, weights, rope, attention.attend(kind, layout, longest), with_mtp)

    return torch.compile(losses) if compiled else losses


def attention_error(kind, documents, longest, shape, compiled):
    """Worst relative error of attention and its gradients against plain masked attention, on two rows of a batch.

    A kernel that mixes up a layout or a mask would otherwise only train badly.
    """
    documents = documents[:2]
    device, T = documents.device, documents.shape[1]
    q, k, v, g = (torch.randn(2, n, T, shape.head_dim, device=device, dtype=torch.bfloat16 if compiled else torch.float32, requires_grad=True)
                  for n in (shape.n_heads, shape.n_kv_heads, shape.n_kv_heads, shape.n_heads))

    def run(kind, compiled):
        function = lambda layout, q, k, v: attention.attend(kind, layout, longest)(q, k, v)
        out = (torch.compile(function) if compiled else function)(attention.layout(kind, documents), q, k, v)
        return out, *torch.autograd.grad(out, (q, k, v), g)

    pairs = zip(run(kind, compiled), run("dense", False), strict=True)
    return max(((ours - plain).float().norm() / plain.float().norm()).item() for ours, plain in pairs)


def to_device(batch, kind, device):
    """(tokens, weights, layout of the documents)"""
    tokens, weights, documents = (torch.from_numpy(array.astype("int32")) for array in batch)
    if device == "cuda":
        tokens, weights, documents = (x.pin_memory().to(device, non_blocking=True) for x in (tokens, weights, documents))
    return tokens.long(), weights.float() / 100, attention.layout(kind, documents)


def save(path, model, optimizer, plan, step):
    temporary = path.with_suffix(".part")
    state = {"model": model.state_dict(), "optimizer": optimizer.state(), "plan": asdict(plan), "step": step}
    torch.save(state, temporary)
    temporary.replace(path)


def check_plan(path, checkpoint, plan):
    """Only the number of steps may change on the way, and only while it makes no difference yet: before the long contexts begin."""
    theirs = checkpoint["plan"]
    early = checkpoint["step"] <= plan.short_until * min(plan.steps, theirs["steps"])
    if asdict(plan) != theirs and (asdict(plan) != {**theirs, "steps": plan.steps} or not early):
        sys.exit(f"{path} was made with another plan; use the same --plan, --steps and --seed, or another --out")


def load_model(path, device="cpu"):
    """(model, checkpoint) of a checkpoint file."""
    checkpoint = torch.load(path, map_location=device, weights_only=True)
    model = Model(Shape(**checkpoint["plan"]["shape"])).to(device)
    model.load_state_dict(checkpoint["model"])
    return model, checkpoint


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plan", choices=PLANS, default="full")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop and save after this time, counted from the program's start")
    parser.add_argument("--steps", type=int, help="another number of steps: the schedule stretches with it")
    parser.add_argument("--stop-at", type=int, help="stop and save after this step of the schedule")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--from-gguf", type=Path, help="without a checkpoint: start from the weights of this file, the optimizer cold")
    parser.add_argument("--at-step", type=int, default=0, help="the step of the schedule at which --from-gguf was saved")
    parser.add_argument("--attention", choices=attention.KINDS, default="flex" if torch.cuda.is_available() else "dense")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    return parser.parse_args()


def main():
    started = time.monotonic()
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    plan = PLANS[options.plan]
    plan = replace(plan, steps=options.steps or plan.steps, seed=plan.seed if options.seed is None else options.seed)
    path = options.out / "checkpoint.pt"
    checkpoint = torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None
    step = options.at_step
    if checkpoint:
        step = checkpoint["step"]
        check_plan(path, checkpoint, plan)

    # The workers fork before CUDA starts.
    packer = mixture.Packer(mixture.Sources(options.data), options.data / "tokenizer.json", plan.rows, plan.row_length,
                            plan.seed if plan.stage == "first" else f"{plan.stage}/{plan.seed}")
    stream = mixture.Stream(packer, lambda index: stage(plan, index), step, options.workers)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(plan.seed)
    torch.set_float32_matmul_precision("high")
    model = Model(plan.shape).to(device)
    if device == "cuda":
        model.compute_type = torch.bfloat16
    optimizer = Optimizer(model)
    if checkpoint:
        model.load_state_dict(checkpoint["model"])
        optimizer.load(checkpoint["optimizer"])
    elif options.from_gguf:
        model.load_state_dict(read_model(options.from_gguf)[0].state_dict())
    losses = make_loss(model, options.attention, compiled=device == "cuda")
    log = open(options.out / "log.jsonl", "a", encoding="utf-8")
    print(f"step {step} of {plan.steps} on {device}, {sum(p.numel() for p in model.parameters()):,} parameters, {options.attention} attention, "
          f"{options.workers} workers, {time.monotonic() - started:.0f} s to start", flush=True)

    rope = rotary(torch.arange(plan.row_length, device=device), plan.shape)
    last_step = min(plan.steps, options.stop_at or plan.steps)
    window = {"time": time.monotonic(), "steps": 0, "waited": 0.0}
    while step < last_step and time.monotonic() - started < options.minutes * 60:
        asked = time.monotonic()
        batch = stream.get()
        window["waited"] += time.monotonic() - asked
        longest = stage(plan, step)[1]
        if step == 0 and (error := attention_error(options.attention, torch.from_numpy(batch[2].astype("int32")).to(device), longest, plan.shape, device == "cuda")) > 0.02:
            sys.exit(f"{options.attention} attention is wrong here: it is off by {error:.1%}; use another --attention")
        tokens, weights, layout = to_device(batch, options.attention, device)
        main_loss, ahead_loss = losses(tokens, weights, rope, layout, longest, step >= plan.steps * plan.short_until)
        (main_loss + ahead_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(learning_rate(plan, step))
        step += 1
        window["steps"] += 1
        if step % 20 == 0 or step == last_step:
            report(log, plan, step, main_loss.item(), ahead_loss.item(), window)
    save(path, model, optimizer, plan, step)
    stream.close()
    print(f"saved step {step} after {time.monotonic() - started:.0f} s{', all steps done' if step == plan.steps else ''}", flush=True)


def report(log, plan, step, main_loss, ahead_loss, window):
    """One line of progress; the window between two reports gives the speed."""
    now = time.monotonic()
    seconds = now - window["time"]
    line = {"step": step, "tokens": step * plan.rows * plan.row_length, "loss": round(main_loss, 4), "loss_ahead": round(ahead_loss, 4),
            "rate": learning_rate(plan, step - 1), "tokens_per_second": round(window["steps"] * plan.rows * plan.row_length / seconds),
            "waited_for_data": round(window["waited"] / seconds, 3)}
    log.write(json.dumps(line) + "\n")
    log.flush()
    print(f"step {step:6} of {plan.steps}  loss {main_loss:.3f}  ahead {ahead_loss:.3f}  {line['tokens_per_second'] / 1e3:8.1f} k tokens/s  "
          f"waiting {line['waited_for_data']:.0%}", flush=True)
    window.update(time=now, steps=0, waited=0.0)


if __name__ == "__main__":
    main()
