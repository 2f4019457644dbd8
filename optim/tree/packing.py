"""Many small leaves, end to end in few buffers, and back.

A compiled call costs some microseconds for every array that goes in or out, and a compiler some milliseconds for every
kernel: with thousands of small leaves that is where the time goes. What is elementwise, or sums over the whole tree,
does not see where one leaf ends, so it may as well work on whole buffers.
"""

import functools
import math
from collections.abc import Sequence
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
"""Elements of the largest leaf that is packed by default: larger ones are worth a buffer of their own."""

EVEN = 128
"""Large buffers have a multiple of this many elements."""

_Shape: Any = jax.ShapeDtypeStruct  # untyped in jax


@dataclass(frozen=True)
class _Place:
    """Where a leaf is: a piece of the child with this number, of this shape and dtype; or that child itself."""

    child: int
    like: Any = None


@dataclass(frozen=True)
class Layout:
    """Where the leaves of a tree are: the structure in which `None` is a leaf, and the place of each."""

    structure: Any
    places: tuple[_Place, ...]
    names: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((self.names, len(self.places)))

    @functools.cached_property
    def members(self) -> list[list[int]]:
        """For each child the leaves that are in it."""
        found: list[list[int]] = [[] for _ in self.names]
        for i, place in enumerate(self.places):
            found[place.child].append(i)
        return found

    def is_buffer(self, child: int) -> bool:
        return self.places[self.members[child][0]].like is not None

    def filled(self, leaves: Sequence[Any]) -> "Packed":
        """These leaves in their places; nothing where a whole buffer has nothing, zeros where only a part has."""
        children: list[Any] = []
        for child, indices in enumerate(self.members):
            mine = [leaves[i] for i in indices]
            if not self.is_buffer(child):
                children += mine
            elif all(map(tree.absent, mine)):
                children.append(None)
            else:
                likes = [self.places[i].like for i in indices]
                whole = [jnp.zeros_like(y) if tree.absent(x) else x for x, y in zip(mine, likes, strict=True)]
                children.append(joined(whole, self.padding(child)))
        return Packed(children, self)

    def sizes(self, child: int) -> list[int]:
        """How many real numbers each leaf of a buffer has in it."""
        return [size(self.places[i].like) for i in self.members[child]]

    def padding(self, child: int) -> int:
        """How many zeros a buffer ends with.

        XLA's CPU compiler shares a large array out among threads. Where a vector does not divide evenly, its kernel
        works on one element at a time.
        """
        length = sum(self.sizes(child))
        return -length % EVEN if length >= EVEN**2 else 0

    def marked(self, child: int, marks: Sequence[bool]) -> np.ndarray[Any, Any]:
        """One bool for each element of a buffer, from one for each of its leaves; those at its end are no leaf's."""
        return np.repeat([*marks, False], [*self.sizes(child), self.padding(child)])

    def leaves(self, children: Sequence[Any]) -> list[Any]:
        """What `filled` was given, in the dtype that each buffer has by now."""
        found: list[Any] = [None] * len(self.places)
        for child, (x, indices) in enumerate(zip(children, self.members, strict=True)):
            pieces = [x] * len(indices)
            if self.is_buffer(child) and x is not None:
                pieces = split(x, [self.places[i].like for i in indices])
            for i, piece in zip(indices, pieces, strict=True):
                found[i] = piece
        return found


@jax.tree_util.register_pytree_with_keys_class
class Packed:
    """A tree whose small leaves lie end to end in one buffer per dtype, while large ones stay as they are.

    A pytree of those few arrays. `tree` is the tree that `pack` was given; a derivative goes through it, so the
    gradient of `lambda packed: loss(packed.tree)` is packed as well. Complex leaves are in it as two real numbers.
    """

    def __init__(self, children: Sequence[Any], layout: Layout) -> None:
        self.children, self.layout = tuple(children), layout

    @property
    def tree(self) -> Tree:
        """The leaves in their tree; cast buffers give cast leaves."""
        return self.layout.structure.unflatten(self.layout.leaves(self.children))

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], Layout]:
        return [(DictKey(n), x) for n, x in zip(self.layout.names, self.children, strict=True)], self.layout

    def tree_flatten(self) -> tuple[tuple[Any, ...], Layout]:
        return self.children, self.layout

    @classmethod
    def tree_unflatten(cls, layout: Layout, children: Sequence[Any]) -> "Packed":
        return cls(children, layout)

    def __repr__(self) -> str:
        told = [f"{n} {getattr(x, 'shape', x)}" for n, x in zip(self.layout.names, self.children, strict=True)]
        return f"Packed({len(self.layout.places)} leaves in {', '.join(told)})"


@checks.entrance("pack")
def pack(params: Params, *, max_leaf: int = MAX_LEAF, by: Any = None) -> Packed:
    """Put the small leaves of a tree end to end into one buffer per dtype: `Packed`, whose `tree` gives them back.

        packed = pack(params)
        step   = make_step(lambda packed, *batch: loss(packed.tree, *batch), tx)

    A step's arguments are then few arrays in place of thousands, and its update a few kernels.

    Args:    params: a tree. max_leaf >= 0: leaves of more elements stay as they are, in the buffers they have.
             by: labels, a tree of them that is a prefix of params, or a function params -> such a tree: leaves of
             different labels are kept apart, so that a mask, or a partition, may part them.
    Raises:  ValueError or TypeError for a max_leaf that is no whole number, at least 0.
    """
    check_max_leaf(max_leaf)
    labels = [None] * len(tree.flatten(params)[0]) if by is None else labelled(by, params, "by")
    leaves = tree.flatten(params)[0]
    return _layout(params, max_leaf, labels).filled(leaves)


def check_max_leaf(max_leaf: Any) -> None:
    if not isinstance(max_leaf, int) or isinstance(max_leaf, bool) or max_leaf < 0:
        checks.fail(f"max_leaf must be a whole number, at least 0, got {checks.shown(max_leaf)}")


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
    """One object for equal layouts, which a dispatch then compares by identity."""
    return layout


# What looks at leaves: rules that see a whole one, masks and labels


def is_packed(x: Any) -> bool:
    return isinstance(x, Packed)


def found_in(tree_: Tree) -> list[Packed]:
    """Every `Packed` in a tree."""
    return [x for x in jax.tree.leaves(tree_, is_leaf=is_packed) if is_packed(x)]


def check_whole(params: Params) -> None:
    """That every leaf is there as it is: for rules that look at whole ones."""
    for packed in found_in(params):
        for name, x, i in zip(packed.layout.names, packed.children, range(len(packed.children)), strict=True):
            if x is not None and packed.layout.is_buffer(i):
                checks.fail(
                    f"params has the buffer {name!r} of packed leaves, and this is a rule on whole ones: "
                    "use the tree that was packed"
                )


def labelled(labels: Any, over: Tree, name: str) -> list[Any]:
    """One label per leaf of `over`, from a prefix of it or a function of it; of packed leaves as of the tree they are.

    Raises: ValueError for what is no prefix, and for labels that part a buffer.
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
        mine = [next(rest) for _ in node.layout.places] if is_packed(node) else [next(rest)]
        for indices in node.layout.members if is_packed(node) else [[0]]:
            (label, path), *others = [mine[i] for i in indices]
            flat.append(label)
            paths += [(path, label, p, x) for x, p in others if x != label]
    if paths:
        path, label, other, x = paths[0]
        checks.fail(
            f"{name} gives params{path} {label!r} and params{other} {x!r}, which are packed into one buffer: "
            f"pack by the same labels, by={name}"
        )
    return flat


# Leaves end to end


def joined(leaves: Sequence[Any], padding: int = 0) -> Array:
    """All elements in one vector of the widest dtype, and so many zeros; a complex element is two real ones."""
    arrays = [gathered(tree.as_array(x)) for x in leaves]
    arrays = [as_pairs(x) if is_complex(x) else x for x in arrays]
    dtype = numerics.common_dtype(*(x.dtype for x in arrays)) if arrays else jnp.dtype(jnp.float32)
    return jnp.concatenate([numerics.convert(x.ravel(), dtype) for x in arrays] + [jnp.zeros(padding, dtype)])


def size(x: Any) -> int:
    """How many real numbers a leaf holds."""
    return math.prod(jnp.shape(x)) * (2 if is_complex(x) else 1)


def split(vector: Array, likes: Sequence[Any]) -> list[Array]:
    """The vector cut into leaves of these shapes, complex ones where these are; the rest of it is nobody's."""
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
    """`lax.split`, which XLA's CPU compiler makes a kernel of each piece of: several milliseconds to compile, each.

    A reduction of many operands is one kernel with many results. Here it is the maximum of a number and minus infinity:
    over two elements, as one over a single element would be simplified away.
    """
    low = np.array(-np.inf, vector.dtype)
    starts = np.cumsum([0, *sizes])
    found: list[Any] = [None] * len(sizes)
    for n in dict.fromkeys(sizes):
        alike = [i for i, m in enumerate(sizes) if m == n]
        for some in (alike[k : k + at_once] for k in range(0, len(alike), at_once)):
            columns = [lax.slice(vector, (starts[i],), (starts[i] + n,)).reshape(n, 1) for i in some]
            padded = [lax.pad(x, low, ((0, 0, 0), (0, 1, 0))) for x in columns]
            pieces = lax.reduce(padded, [low] * len(some), lambda xs, ys: list(map(lax.max, xs, ys)), (1,))
            for i, piece in zip(some, pieces, strict=True):
                found[i] = piece
    return found
