"""`sharded`: an optimizer whose state and work are shared out among the devices that hold copies of the parameters."""

from typing import Any, Literal, get_args

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .. import checks, tree
from ..core.apply import apply_updates
from ..core.members import around
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs, taking_extra_args
from ..lift.rules import check_updates
from ..matrix.sharing import names_in
from ..optimizers.adam import adam
from ..types import Array, Params, TransformationLike, Tree
from .specs import devices_along

Indivisible = Literal["replicate", "refuse"]

_spec: Any = PartitionSpec  # untyped in jax, as the next two are
_reshard: Any = jax.sharding.reshard
_constrain: Any = jax.lax.with_sharding_constraint


@register(
    example(adam(0.1), "d"),
    example(adam(0.1), _spec(), indivisible="refuse"),
    exceptions={
        "golden": "it only chooses where its inner transformation works",
        "sharding-0": "without params_spec its updates are whole under an Auto mesh",
    },
    errors=[
        (example(1, "d"), "tx must be a transformation (init, update), got 1"),
        (
            example(adam(0.1), 8),
            "spec must be the name of an axis, a PartitionSpec, a NamedSharding, or a tree of both",
        ),
        (example(adam(0.1), "d", indivisible="pad"), "indivisible must be 'replicate' or 'refuse', got 'pad'"),
    ],
)
def sharded(
    tx: TransformationLike, spec: Any, *, params_spec: Any = None, indivisible: Indivisible = "replicate"
) -> GradientTransformationExtraArgs:
    """Run `tx` on shards of gradients, parameters and state, and return updates as the parameters are sharded (ZeRO-1).

        tx = optim.sharded(optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3)), "data")

    With N devices along the axis each holds 1/N of the state. `make_update` and `make_step` also apply inside:
    gradients arrive by a reduce-scatter, and the new parameters are gathered in their own dtype. Without a mesh in use
    (as `jax.set_mesh(mesh)` sets it) nothing is sharded by an axis name or a PartitionSpec.

    Args:
      tx: the transformation. Norms are those of the whole tree.
      spec: the name of a mesh axis, which takes the longest axis of each leaf that it divides and that is free; or a
        PartitionSpec, a NamedSharding, or a tree of both with one for each leaf.
      params_spec: how the parameters are sharded, as a PartitionSpec, a NamedSharding or a tree of both; None takes
        what the type or the array tells, and under an Auto mesh inside `jit`, where nothing tells it, whole.
      indivisible: what to do with a leaf that spec does not divide: "replicate" leaves it whole, "refuse" raises.
    State:   the state of tx, sharded.
    Raises:  ValueError with indivisible="refuse" for a leaf that cannot be divided, naming its path; TypeError for a
             spec of another kind.
    Source:  Rajbhandari et al. 2020, ZeRO, Sec. 5.1; Xu et al. 2020.
    When:    data-parallel training, whose optimizer state is too large for one device.
    """
    member = taking_extra_args(tx, "tx")
    checks.choice("indivisible", indivisible, get_args(Indivisible))
    for name, given in {"spec": spec, "params_spec": params_spec}.items():
        _check(name, given)

    def places(params: Tree) -> tuple[Tree, Tree]:
        """The shardings in which the member works, and those of the parameters; None where a leaf stays as it is."""
        owns = _spread(params_spec, params, "params_spec")
        specs = _spread(spec, params, "spec")
        inside, outside = [], []
        for i, (p, own, given) in enumerate(zip(tree.flatten(params)[0], owns, specs, strict=True)):
            mesh = _mesh(given, own, p)
            where = None if mesh is None else _inside(p, own, given, mesh)
            if where is None and mesh is not None and indivisible == "refuse" and tree.trainable(p):
                path, shape = tree.paths(params)[i], tuple(p.shape)
                checks.fail(f"params{path} of shape {shape} cannot be divided by {given!r} on {dict(mesh.shape)}")
            inside.append(where)
            outside.append(None if where is None else NamedSharding(where.mesh, _own_spec(p, own)))
        unflatten = tree.structure(params).unflatten
        return unflatten(inside), unflatten(outside)

    def init(params: Params) -> Any:
        inside, _ = places(params)
        return member.init(_moved(params, inside))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        like = updates if params is None else params
        _check_updates(updates, like)
        inside, outside = places(like)
        own = None if params is None else _moved(params, inside)
        new, state = member.update(_moved(updates, inside), state, own, **extra_args)
        return _moved(new, outside), state

    def applies(updates: Any, state: Any, params: Any, extra_args: Any) -> Any:
        _check_updates(updates, params)
        inside, outside = places(params)
        own = _moved(params, inside)
        new, state = member.update(_moved(updates, inside), state, own, **extra_args)
        return _moved(apply_updates(own, new), outside), state

    return around(member, init, update, inner=lambda state: state, applies=applies)


def _check_updates(updates: Tree, like: Tree) -> None:
    check_updates(tree.match(updates, like, "updates", "params"), tree.flatten(like)[0], like)


def _is_place(x: Any) -> bool:
    return x is None or isinstance(x, PartitionSpec | NamedSharding | str)


def _check(name: str, given: Any) -> None:
    for x in jax.tree.leaves(given, is_leaf=_is_place):
        if not _is_place(x) or (isinstance(x, str) and name != "spec"):
            kinds = "a PartitionSpec, a NamedSharding, or a tree of both"
            kinds = f"the name of an axis, {kinds}" if name == "spec" else kinds
            checks.fail(f"{name} must be {kinds}, got {checks.shown(x)}", TypeError)


def _spread(given: Any, params: Tree, name: str) -> list[Any]:
    return tree.spread(given, params, name, _is_place)


def _mesh(given: Any, own: Any, p: Any) -> Any:
    """The mesh of a leaf: that of its shardings, else the one in use."""
    for x in (given, own, *_seen(p)):
        if isinstance(x, NamedSharding):
            return x.mesh
    in_use: Any = jax.sharding.get_abstract_mesh()
    return None if in_use.empty else in_use


def _seen(p: Any) -> list[Any]:
    """The sharding of an array where it can be seen: in its type, or as it lies on the devices."""
    if p is None:
        return []
    if checks.is_traced(p):
        sharding = jax.typeof(p).sharding
        return [sharding] if any(t is AxisType.Explicit for t in sharding.mesh.axis_types) else []
    sharding = getattr(p, "sharding", None)
    return [sharding] if isinstance(sharding, NamedSharding) else []


def _own_spec(p: Any, own: Any) -> Any:
    found = own if own is not None else next(iter(_seen(p)), _spec())
    return found.spec if isinstance(found, NamedSharding) else found


def _inside(p: Any, own: Any, given: Any, mesh: Any) -> Any:
    """Where the member works on a leaf, or None if it cannot be divided so."""
    if not tree.trainable(p) or given is None:
        return None
    shape, taken = tuple(p.shape), [*_own_spec(p, own), *[None] * p.ndim][: p.ndim]
    if isinstance(given, str):
        count = devices_along(given, mesh, "spec")
        if any(given in names_in(axes) for axes in taken):
            return NamedSharding(mesh, _spec(*taken))
        free = [i for i, n in enumerate(shape) if taken[i] is None and n and n % count == 0]
        if not free:
            return None
        longest = max(free, key=lambda i: shape[i])
        taken[longest] = given
        return NamedSharding(mesh, _spec(*taken))
    spec = given.spec if isinstance(given, NamedSharding) else given
    if len(spec) > len(shape):
        return None
    if any(n % devices_along(axes, mesh, "spec") for n, axes in zip(shape, spec, strict=False)):
        return None
    return NamedSharding(mesh, spec)


def _moved(values: Tree, places: Tree) -> Tree:
    """The arrays in their places; what has no place stays as it is."""

    def move(x: Any, home: Any) -> Any:
        return x if home is None or tree.absent(x) else _put(x, home)

    return jax.tree.map(move, values, places, is_leaf=tree.is_none)


def _put(x: Any, home: NamedSharding) -> Array:
    if checks.is_shape(x):
        made: Any = jax.ShapeDtypeStruct
        shape: Array = made(x.shape, x.dtype, sharding=home)
        return shape
    explicit = all(t is AxisType.Explicit for t in home.mesh.axis_types)
    put: Array = _reshard(x, home) if explicit else _constrain(x, home)
    return put
