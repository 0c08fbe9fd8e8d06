"""Makes transformers compute in float64 throughout.

Its models cast to float32 by name in many places (rope tables, norms, softmax, routers, recurrent states). Under
`Float64Mode` every request for float32 yields float64; `OnlyFloat64` proves that nothing of lower precision is left.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def _widen(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


class Float64Mode(TorchFunctionMode):
    """Reads float32 as float64 in the arguments of every torch function."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.view:  # a view with a dtype reinterprets bits
            return func(*args, **kwargs)
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(_widen, args), **{key: _widen(value) for key, value in kwargs.items()})


class OnlyFloat64(TorchDispatchMode):
    """Raises when an operation makes a floating-point tensor of any other type."""

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.dtype != torch.float64:
                raise AssertionError(f"{func} made {leaf.dtype} {list(leaf.shape)} in a float64 run")
        return result


class Float64(Float64Mode):
    """`with Float64():` both of the above, and float64 as the default type."""

    def __enter__(self) -> "Float64":
        self._previous = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        self._guard = OnlyFloat64()
        self._guard.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._guard.__exit__(*error)
        torch.set_default_dtype(self._previous)
