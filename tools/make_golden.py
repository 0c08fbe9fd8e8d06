#!/usr/bin/env python3
"""Makes the goldens in tests/goldens: tiny random models whose outputs transformers computes in float64.

    pip install -r tools/requirements-golden.txt
    tools/make_golden.py                 # make all
    tools/make_golden.py --only qwen3    # make some (may be repeated)
    tools/make_golden.py --check         # recompute and compare with the committed files
    tools/make_golden.py --mutate        # list what a golden would hardly notice
    tools/make_golden.py --list          # names and sizes
    tools/make_golden.py --self-test     # known values of the weight generator, and of the float64 guard

golden/families holds the models (a new family is one entry), golden/generator.py says how weights follow from
their names, golden/artifact.py what the files hold. A golden stores no weights.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import torch

from golden import artifact, float64, generator, mutation
from golden.families import FAMILIES

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens"


def make(name: str) -> bool:
    """Writes one golden and prints what it is like."""
    golden = artifact.make(FAMILIES[name])
    size_bytes = artifact.write(golden, FOLDER / name)
    info = golden.manifest
    hidden = golden.tensors["hidden.0"].shape
    choice = info["min_choice_margin"]
    print(
        f"{name:12} {size_bytes:7} bytes  seed {info['seed']:3}  T {hidden[0]} C {hidden[1]}  "
        f"{len(info['tensors']):3} tensors  margins: choice {'-' if choice is None else f'{choice:.1e}'}, "
        f"logit {info['min_logit_margin']:.1e}  f32 errors {' '.join(f'{e:.1e}' for e in golden.tensors['f32_error'])}"
    )
    return True


def check(name: str) -> bool:
    """Recomputes one golden and prints how it differs from the stored one."""
    stored, fresh = artifact.read(FOLDER / name), artifact.make(FAMILIES[name])
    found = artifact.differences(stored, fresh)
    for key in ("torch", "transformers"):
        if stored.manifest[key] != fresh.manifest[key]:
            print(f"{name:12} note: made with {key} {stored.manifest[key]}, checked with {fresh.manifest[key]}")
    print(f"{name:12} {'differs in ' + '; '.join(found) if found else 'agrees'}")
    return not found


def mutate(name: str) -> bool:
    """Prints the tensors and config keys whose change the golden does not notice, and the quietest that it does."""
    golden = artifact.read(FOLDER / name)
    tensors = sorted(mutation.tensor_mutants(FAMILIES[name], golden), key=lambda mutant: mutant[1])
    keys = dict(mutation.config_mutants(FAMILIES[name], golden))
    heard = sorted((loud, key) for key, loud in keys.items() if loud is not None and loud >= 1)
    silent = [key for key, loud in keys.items() if loud is not None and loud < 1]
    print(f"{name}: {len(tensors)} tensors, quietest {', '.join(f'{n} {loud:.0f}' for n, loud in tensors[:3])}")
    quietest = ", ".join(f"{key} {loud:.0f}" for loud, key in heard[:4])
    print(f"  {len(heard)} config keys change outputs, quietest {quietest}")
    print(f"  refused: {', '.join(key for key, loud in keys.items() if loud is None)}")
    print(f"  without effect: {', '.join(silent)}")
    return tensors[0][1] >= 1


def show(name: str) -> bool:
    """Prints one line about a family."""
    config = FAMILIES[name].config
    print(f"{name:12} {config['architectures'][0]}: {config['num_hidden_layers']} layers, C {config['hidden_size']}")
    return True


def self_test() -> bool:
    """Checks the generator's known values, and that the float64 guard lets nothing else through."""
    generator.self_test()
    with float64.Float64():
        assert torch.ones(2).to(torch.float32).float().dtype == torch.float64
        assert torch.softmax(torch.ones(2), -1, dtype=torch.float32).dtype == torch.float64
    for make_f32 in (lambda: torch.ones(2, dtype=torch.float32), lambda: torch.ones(2).float()):
        try:
            with float64.OnlyFloat64():
                make_f32()
        except AssertionError:
            continue
        raise AssertionError("the guard lets float32 through")
    print("self test passed")
    return True


def main() -> int:
    """Runs the chosen action for the chosen families; the exit status is 1 when one of them fails."""
    parser = argparse.ArgumentParser(description="Makes and checks the goldens in tests/goldens.")
    parser.add_argument("--only", action="append", choices=sorted(FAMILIES), metavar="NAME", help="this golden only")
    action = parser.add_mutually_exclusive_group()
    for flag, function, text in (
        ("--check", check, "recompute and compare"),
        ("--mutate", mutate, "list what the golden would hardly notice"),
        ("--list", show, "list the families"),
    ):
        action.add_argument(flag, dest="action", action="store_const", const=function, default=make, help=text)
    action.add_argument("--self-test", action="store_true", help="check the generator and the float64 guard")
    options = parser.parse_args()
    if options.self_test:
        return 0 if self_test() else 1
    return 0 if all([options.action(name) for name in options.only or FAMILIES]) else 1


if __name__ == "__main__":
    sys.exit(main())
