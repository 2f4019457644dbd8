"""Concatenation of many small leaves into a few buffers, and its inverse.

A compiled call takes some microseconds for every array it receives or returns, and a compiler some milliseconds for
every kernel. With thousands of small leaves these dominate. Rules that are elementwise, or sum over the whole tree, do
not depend on the borders between leaves and can work on whole buffers.
"""

import functools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import DictKey

from .. import checks, numerics, tree
from ..numerics import as_complex, as_pairs, gathered, is_complex
from ..types import Array, Params, Tree

MAX_LEAF = 2**12
"""Elements of the largest leaf that is packed by default: larger leaves justify their own buffer."""

EVEN = 128
"""The number of elements in a large buffer is a multiple of this."""

_Shape: Any = jax.ShapeDtypeStruct  # untyped in jax


@dataclass(frozen=True)
class _Place:
    """The place of a leaf: a piece of a child, shaped and typed like `like`, or the whole child if `like` is None."""

    child: int
    like: Any = None


@dataclass(frozen=True)
class Layout:
    """Where the leaves of a tree are: its structure, in which `None` is a leaf, their places, the children's names."""

    structure: Any
    places: tuple[_Place, ...]
    names: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((self.names, len(self.places)))

    @functools.cached_property
    def members(self) -> list[list[int]]:
        """For each child the indices of the leaves in it."""
        indices: list[list[int]] = [[] for _ in self.names]
        for i, place in enumerate(self.places):
            indices[place.child].append(i)
        return indices

    def is_buffer(self, child: int) -> bool:
        return self.places[self.members[child][0]].like is not None

    def filled(self, leaves: Sequence[Any]) -> "Packed":
        """The leaves in their places: `None` for a buffer without any leaf, zeros for single absent leaves."""
        children: list[Any] = []
        for child, indices in enumerate(self.members):
            pieces = [leaves[i] for i in indices]
            if not self.is_buffer(child):
                children += pieces
            elif all(map(tree.absent, pieces)):
                children.append(None)
            else:
                likes = [self.places[i].like for i in indices]
                whole = [jnp.zeros_like(y) if tree.absent(x) else x for x, y in zip(pieces, likes, strict=True)]
                children.append(joined(whole, self.padding(child)))
        return Packed(children, self)

    def sizes(self, child: int) -> list[int]:
        """The number of real elements of each leaf in a buffer."""
        return [size(self.places[i].like) for i in self.members[child]]

    def padding(self, child: int) -> int:
        """The number of zeros at the end of a buffer.

        XLA's CPU compiler divides a large array among threads. If the parts are no multiple of the vector length, its
        kernel works on one element at a time.
        """
        length = sum(self.sizes(child))
        return -length % EVEN if length >= EVEN**2 else 0

    def marked(self, child: int, marks: Sequence[bool]) -> np.ndarray[Any, Any]:
        """One bool for each element of a buffer, from one for each of its leaves; padding is False."""
        return np.repeat([*marks, False], [*self.sizes(child), self.padding(child)])

    def leaves(self, children: Sequence[Any]) -> list[Any]:
        """Inverse of `filled`, in the present dtype of each buffer."""
        leaves: list[Any] = [None] * len(self.places)
        for child, (x, indices) in enumerate(zip(children, self.members, strict=True)):
            pieces = [x] * len(indices)
            if self.is_buffer(child) and x is not None:
                pieces = split(x, [self.places[i].like for i in indices])
            for i, piece in zip(indices, pieces, strict=True):
                leaves[i] = piece
        return leaves


@jax.tree_util.register_pytree_with_keys_class
class Packed:
    """A tree whose small leaves are concatenated into one buffer per dtype; large leaves are kept as they are.

    It is a pytree of these few arrays, and `tree` is the original tree. Derivatives pass through `tree`: the gradient
    of `lambda packed: loss(packed.tree)` is packed as well. Complex leaves are stored as pairs of real numbers.

    Args:
      children: the buffers and large leaves.
      layout: the places of the leaves in them.
    """

    def __init__(self, children: Sequence[Any], layout: Layout) -> None:
        self.children, self.layout = tuple(children), layout

    @property
    def tree(self) -> Tree:
        """The original tree; cast buffers give cast leaves."""
        return self.layout.structure.unflatten(self.layout.leaves(self.children))

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], Layout]:
        return [(DictKey(n), x) for n, x in zip(self.layout.names, self.children, strict=True)], self.layout

    def tree_flatten(self) -> tuple[tuple[Any, ...], Layout]:
        return self.children, self.layout

    @classmethod
    def tree_unflatten(cls, layout: Layout, children: Sequence[Any]) -> "Packed":
        return cls(children, layout)

    def __repr__(self) -> str:
        shapes = [f"{n} {getattr(x, 'shape', x)}" for n, x in zip(self.layout.names, self.children, strict=True)]
        return f"Packed({len(self.layout.places)} leaves in {', '.join(shapes)})"


@checks.entrance("pack")
def pack(params: Params, *, max_leaf: int = MAX_LEAF, by: Any = None) -> Packed:
    """Concatenate the small leaves of a tree into one buffer per dtype; the result's `tree` is the original tree.

        packed = pack(params)
        step   = make_step(lambda packed, *batch: loss(packed.tree, *batch), tx)

    A step then has few arrays as arguments in place of thousands, and its update takes few kernels.

    Args:
      params: a tree of arrays.
      max_leaf: largest number of elements of a leaf that is packed, an integer >= 0.
      by: labels, a prefix of params or a function params -> such a tree: leaves with different labels go to different
        buffers, so that a mask or a partition can separate them. None packs all leaves of a dtype together.
    Raises:  ValueError if max_leaf is not an integer >= 0; errors for labels that do not fit params.
    """
    check_max_leaf(max_leaf)
    labels = [None] * len(tree.flatten(params)[0]) if by is None else labelled_by_words(by, params, "by")
    leaves = tree.flatten(params)[0]
    return _layout(params, max_leaf, labels).filled(leaves)


def check_max_leaf(max_leaf: Any) -> None:
    if not isinstance(max_leaf, int) or isinstance(max_leaf, bool) or max_leaf < 0:
        checks.fail(f"max_leaf must be an integer >= 0, got {checks.shown(max_leaf)}")


def _layout(params: Params, max_leaf: int, labels: Sequence[Any]) -> Layout:
    leaves, structure = tree.flatten(params)
    groups: dict[Any, list[int]] = {}
    for i, (x, label) in enumerate(zip(leaves, labels, strict=True)):
        if tree.trainable(x) and math.prod(jnp.shape(x)) <= max_leaf:
            groups.setdefault((str(numerics.real_dtype(jnp.result_type(x))), label), []).append(i)
    buffers = {i: group for group, members in groups.items() if len(members) > 1 for i in members}
    children: dict[Any, int] = {}
    names, places = [], []
    for i, (x, path) in enumerate(zip(leaves, tree.names(params), strict=True)):
        group = buffers.get(i, i)
        if group not in children:
            children[group] = len(children)
            names.append(path if i not in buffers else " ".join(str(word) for word in group if word is not None))
        like = _Shape(jnp.shape(x), jnp.result_type(x)) if i in buffers else None
        places.append(_Place(children[group], like))
    return _interned(Layout(structure, tuple(places), tuple(names)))


@functools.lru_cache(maxsize=256)
def _interned(layout: Layout) -> Layout:
    """One object for all equal layouts, so that JAX's dispatch compares them by identity."""
    return layout


# Checks for rules on whole leaves; labels


def is_packed(x: Any) -> bool:
    return isinstance(x, Packed)


def found_in(tree_: Tree) -> list[Packed]:
    """Every `Packed` in a tree."""
    return [x for x in jax.tree.leaves(tree_, is_leaf=is_packed) if is_packed(x)]


def check_whole(params: Params) -> None:
    """Fail if a leaf is packed: for rules that need whole leaves."""
    for packed in found_in(params):
        for name, x, i in zip(packed.layout.names, packed.children, range(len(packed.children)), strict=True):
            if x is not None and packed.layout.is_buffer(i):
                checks.fail(
                    f"params has the buffer {name!r} of packed leaves, but this rule needs whole leaves: "
                    "use the tree that was packed"
                )


def labelled(labels: Any, over: Tree, name: str) -> list[Any]:
    """One label per leaf of `over`, from a prefix or a function of it; for packed leaves, of the tree they come from.

    Raises:  ValueError for labels that are not a prefix, and for different labels within one buffer.
    """
    nodes, structure = tree.flatten(over, lambda x: x is None or is_packed(x))
    if found_in(labels):
        return tree.spread(labels, over, name)
    opened = over
    if any(map(is_packed, nodes)):
        opened = structure.unflatten([jax.eval_shape(lambda x: x.tree, x) if is_packed(x) else x for x in nodes])
    if tree.is_function(labels):
        labels = labels(opened)
    flat = tree.spread(labels, opened, name)
    if opened is over:
        return flat
    rest, paths = iter(zip(flat, tree.paths(opened), strict=True)), []
    flat = []
    for node in nodes:
        entries = [next(rest) for _ in node.layout.places] if is_packed(node) else [next(rest)]
        for indices in node.layout.members if is_packed(node) else [[0]]:
            (label, path), *others = [entries[i] for i in indices]
            flat.append(label)
            paths += [(path, label, p, x) for x, p in others if x != label]
    if paths:
        path, label, other, x = paths[0]
        checks.fail(
            f"{name} gives params{path} {label!r} and params{other} {x!r}, which are packed into one buffer: "
            f"pack by the same labels, by={name}"
        )
    return flat


def labelled_by_words(labels: Any, over: Tree, name: str) -> list[Any]:
    """`labelled`, for labels that are names: hashable values and not arrays."""
    flat = labelled(labels, over, name)
    for i, label in enumerate(flat):
        if checks.is_array(label) or not isinstance(label, Hashable):
            got = "an array" if checks.is_array(label) else checks.shown(label)
            checks.fail(
                f"{name} gives params{tree.paths(over)[i]} the label {got}, expected a word or a number", TypeError
            )
    return flat


# Leaves end to end


def joined(leaves: Sequence[Any], padding: int = 0) -> Array:
    """All elements as one vector of the widest dtype, then `padding` zeros; complex elements become two real ones."""
    arrays = [gathered(tree.as_array(x)) for x in leaves]
    arrays = [as_pairs(x) if is_complex(x) else x for x in arrays]
    dtype = numerics.common_dtype(*(x.dtype for x in arrays)) if arrays else jnp.dtype(jnp.float32)
    return jnp.concatenate([numerics.convert(x.ravel(), dtype) for x in arrays] + [jnp.zeros(padding, dtype)])


def size(x: Any) -> int:
    """The number of real elements of a leaf."""
    return math.prod(jnp.shape(x)) * (2 if is_complex(x) else 1)


def split(vector: Array, likes: Sequence[Any]) -> list[Array]:
    """The vector cut into leaves shaped like `likes`, complex where these are; surplus elements are dropped."""
    sizes = [size(x) for x in likes]
    rest = vector.size - sum(sizes)
    pieces = _cut(vector, (*sizes, rest) if rest else tuple(sizes))[: len(sizes)]
    shapes = [(*jnp.shape(x), 2) if is_complex(x) else jnp.shape(x) for x in likes]
    leaves = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
    return [as_complex(x) if is_complex(like) else x for x, like in zip(leaves, likes, strict=True)]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _cut(vector: Array, sizes: tuple[int, ...]) -> list[Array]:
    def cut(vector: Array) -> list[Array]:
        return list(lax.split(vector, sizes))

    if len(sizes) < 2 or vector.dtype.name not in ("float16", "bfloat16", "float32", "float64"):
        return cut(vector) if sizes else []
    cpu = functools.partial(_cut_in_few_kernels, sizes=sizes)
    pieces: list[Array] = lax.platform_dependent(vector, cpu=cpu, default=cut)
    return pieces


@_cut.defjvp
def _cut_jvp(sizes: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]) -> Any:
    return _cut(primals[0], sizes), list(lax.split(tangents[0], sizes))


def _cut_in_few_kernels(vector: Array, *, sizes: tuple[int, ...], at_once: int = 32) -> list[Array]:
    """`lax.split` in few kernels: XLA's CPU compiler makes one kernel per piece, several milliseconds each to compile.

    A reduction of many operands is one kernel with many results. Each result is the maximum of a number and minus
    infinity, over two elements, because the compiler would simplify a reduction over one element away.
    """
    low = np.array(-np.inf, vector.dtype)
    starts = np.cumsum([0, *sizes])
    pieces_of: list[Any] = [None] * len(sizes)
    for n in dict.fromkeys(sizes):
        same_size = [i for i, m in enumerate(sizes) if m == n]
        for some in (same_size[k : k + at_once] for k in range(0, len(same_size), at_once)):
            columns = [lax.slice(vector, (starts[i],), (starts[i] + n,)).reshape(n, 1) for i in some]
            padded = [lax.pad(x, low, ((0, 0, 0), (0, 1, 0))) for x in columns]
            pieces = lax.reduce(padded, [low] * len(some), lambda xs, ys: list(map(lax.max, xs, ys)), (1,))
            for i, piece in zip(some, pieces, strict=True):
                pieces_of[i] = piece
    return pieces_of
