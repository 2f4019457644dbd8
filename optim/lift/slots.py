"""What a rule declares as its state: one array per parameter, or one scalar for the whole tree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp

from .. import checks, numerics
from ..numerics import is_complex
from ..types import Array, DType


@dataclass(frozen=True)
class Slot:
    """One state array per parameter, of the parameter's shape and sharding.

    Args:
      init: the value it starts with, or a function of the parameter (widened) that gives it.
      dtype: its dtype by the user's choice; None means the policy: the parameter's, but at least float32 for a real
        slot, and for a slot that moves slower than `decay` 0.99.
      real: whether it is real for complex parameters (second moments, norms); two real numbers for each complex one
        where the rule sees two.
      decay: the factor by which it decays at each update. A slot whose decay is the Python number 0 is not stored: its
        field is None and the rule sees zeros.
      always_stored: store it even when `decay` is 0, because other code reads it.
      per_leaf: one scalar for the whole parameter in place of an array of its shape.
      non_negative: whether it is never below zero (second moments, sums of squares), for how it may be stored.
      free: an array of any shape, or a tuple or list of them, as the function `init` makes it of the parameter.
    """

    init: float | Array | Callable[[Array], Any] = 0.0
    dtype: DType = None
    real: bool = False
    decay: Any = None
    always_stored: bool = False
    per_leaf: bool = False
    free: bool = False
    non_negative: bool = False

    @property
    def stored(self) -> bool:
        return self.always_stored or not (checks.is_number(self.decay) and self.decay == 0)

    def make(self, p: Array, *, paired: bool = False) -> Any:
        """The slot of one parameter, in a buffer of its own.

        `paired` says that the rule sees a complex parameter as two real ones.
        """
        dtype = self.dtype_for(p)
        if self.per_leaf:
            return numerics.fresh(self.init, dtype)
        if paired and is_complex(p):
            made = self.make(numerics.fresh_pairs(p))
            return made if self.real else numerics.fresh_complex(made, numerics.real_dtype(dtype))
        if callable(self.init):
            value = self.init(numerics.widened(p))
            if self.free:
                return jax.tree.map(lambda x: numerics.fresh(x, dtype), value)
            return numerics.copied(value, p, dtype)
        return numerics.full_like(p, cast(float, self.init), dtype)

    def dtype_for(self, p: Array) -> DType:
        if self.dtype is not None:
            dtype = jnp.dtype(self.dtype)
            complex_too = is_complex(p) and not self.real and jnp.issubdtype(dtype, jnp.floating)
            return numerics.common_dtype(dtype, jnp.complex64) if complex_too else dtype
        fast = self.decay is None or (checks.is_number(self.decay) and self.decay <= 0.99)
        dtype = p.dtype if fast and not self.real else numerics.wide_dtype(p.dtype)
        return numerics.real_dtype(dtype) if self.real else dtype


@dataclass(frozen=True)
class StateScalar:
    """One state scalar for the whole tree: a number, a PRNG key, or a function of the parameters that gives one."""

    init: float | Array | Callable[[Any], Any] = 0.0
    dtype: DType = None

    def make(self, params: Any) -> Array:
        """The scalar in a buffer of its own; `params` are the parameters that have slots."""
        value = self.init(params) if callable(self.init) else self.init
        if isinstance(value, jax.Array):
            return numerics.fresh(value, value.dtype)
        return numerics.fresh(value, self.dtype or numerics.scalar_dtype())
