"""Under JAX's transformations: the same numbers, one trace, a state that keeps its type."""

from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optim

from .rows import ROWS, avals, check_all, column, equal, grads, plain, run, tree


@column("jit")
def test_jit_is_eager_in_one_trace(row):
    tx, params = row.make(), tree()
    traces = []

    @jax.jit
    def step(params, state, g):
        traces.append(1)
        u, state = tx.update(g, state, params)
        return optim.apply_updates(params, u), state, u

    state = jax.jit(tx.init)(params)
    equal(state, tx.init(params))
    eager_params, eager_state, eager_u = run(tx, params, 4)
    for n in range(4):
        params, state, u = step(params, state, grads(params, n))
    assert len(traces) == 1
    row.close((params, state, u), (eager_params, eager_state, eager_u))


@column("vmap")
def test_vmap_is_a_loop(row):
    tx = row.make()
    trees = [tree(), jax.tree.map(lambda p: 0.5 - 2 * p, tree())]
    states = [tx.init(p) for p in trees]
    gs = [grads(p, n) for n, p in enumerate(trees)]

    def stacked(items):
        return jax.tree.map(lambda *xs: jnp.stack(xs), *items)

    mapped = jax.jit(jax.vmap(tx.update))(stacked(gs), stacked(states), stacked(trees))
    looped = [tx.update(g, s, p) for g, s, p in zip(gs, states, trees, strict=True)]
    row.close(mapped, stacked(looped))


@column("scan")
def test_state_keeps_its_type_under_scan_and_cond(row):
    """Gradients accumulate in a scan, and every second step is taken under cond: the sum of two halves is the whole."""
    tx, params = row.make(), tree()

    def step(carry, n):
        params, state, acc = carry
        acc = jax.tree.map(lambda a, p: a + 0.5 * jnp.full_like(p, 0.3), acc, params)

        def take(params, state, acc):
            u, state = tx.update(acc, state, params)
            return optim.apply_updates(params, u), state, jax.tree.map(jnp.zeros_like, acc)

        return jax.lax.cond(n % 2 == 1, take, lambda *same: same, params, state, acc), None

    state = tx.init(params)
    start = (params, state, jax.tree.map(jnp.zeros_like, params))
    (scanned, scanned_state, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, jnp.arange(4)))(start)
    assert avals(scanned_state) == avals(state)
    assert not any(weak for _, _, weak in avals(state))
    for _ in range(2):
        u, state = tx.update(jax.tree.map(lambda p: jnp.full_like(p, 0.3), params), state, params)
        params = optim.apply_updates(params, u)
    row.close((scanned, scanned_state), (params, state))


@column("donation")
@pytest.mark.parametrize("init", ["eager", "jit"])
def test_fresh_state_can_be_donated(row, init):
    tx = row.make()

    @jax.jit
    def fresh():
        return tree()

    params = fresh()
    make = jax.jit(tx.init) if init == "jit" else tx.init
    state, kept = make(params), make(params)
    arrays = [x for x in jax.tree.leaves((params, state)) if x.size]
    buffers = [x.unsafe_buffer_pointer() for x in arrays if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    assert len(set(buffers)) == len(buffers)
    before = jax.tree.map(plain, kept)

    step = jax.jit(lambda p, s, g: tx.update(g, s, p), donate_argnums=(0, 1))
    compiled = step.lower(params, state, grads(params)).compile()
    u, new = compiled(params, state, grads(tree()))
    for x in jax.tree.leaves((u, new)):
        x.block_until_ready()
    equal(jax.tree.map(jnp.asarray, before), jax.tree.map(lambda x: jnp.asarray(plain(x)), kept))


@column("sharding")
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_slots_keep_their_parameters_sharding(row, axis_type):
    tx = row.make()
    mesh = jax.make_mesh((8,), ("d",), axis_types=(axis_type,))
    along = NamedSharding(mesh, PartitionSpec("d"))
    host = {"w": np.ones((16, 3), np.float32), "b": np.ones(8, np.float32)}
    params = {k: jax.device_put(x, along) for k, x in host.items()}
    grads = {k: jax.device_put(np.float32(0.5) * x, along) for k, x in host.items()}

    def check_layout(made, what):
        for x in jax.tree.leaves(made):
            if x.ndim and x.shape[0] in (16, 8):
                assert x.sharding.is_equivalent_to(along, x.ndim), f"{what}: {x.sharding}"

    state = jax.jit(tx.init)(params)
    check_layout(state, "the state of jit(init)")
    check_layout(tx.init(params), "the state of init")
    with jax.set_mesh(mesh):
        u, new = jax.jit(tx.update)(grads, state, params)
    check_layout((u, new), "update and state of jit(update)")
    if not row.excepted("partitioned"):
        with jax.disable_jit():
            expected, _ = tx.update(jax.tree.map(np.asarray, grads), tx.init(host), host)
        row.close(jax.tree.map(np.asarray, u), jax.tree.map(np.asarray, expected))


@column("checkpoint")
def test_checkpoint_resumes_bit_for_bit(row):
    tx = row.make()
    params, state, _ = run(tx, tree(), 2)
    leaves, structure = jax.tree.flatten((params, state))
    keys = [jax.random.key_impl(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else None for x in leaves]
    saved = [np.asarray(jax.random.key_data(x) if k else x) for x, k in zip(leaves, keys, strict=True)]
    loaded = [jax.random.wrap_key_data(x, impl=k) if k else jnp.asarray(x) for x, k in zip(saved, keys, strict=True)]
    params_again, state_again = jax.tree.unflatten(structure, loaded)
    equal(run(tx, params_again, 2, state_again, start=2), run(tx, params, 2, state, start=2))


@column("grain", "elementwise", "treewise")
def test_grain_is_true(row):
    """What is elementwise or treewise gives the same numbers on all leaves laid end to end."""
    tx = row.make()
    params = tree()

    def packed(t):
        return jnp.concatenate([x.ravel() for x in jax.tree.leaves(t)])

    flat_params, state, flat_state = packed(params), tx.init(params), tx.init(packed(params))
    for n in range(3):
        g = grads(params, n)
        u, state = tx.update(g, state, params)
        flat_u, flat_state = tx.update(packed(g), flat_state, flat_params)
        row.close(packed(u), flat_u)


@column("extra")
def test_extra_arguments_are_ignored(row):
    tx, params = row.make(), tree()
    args = (grads(params), tx.init(params), params)

    def program(tx, **extra):
        return str(jax.make_jaxpr(lambda g, s, p: tx.update(g, s, p, **extra))(*args))

    others = {"value": jnp.ones(()), "loss_fn": len, "nonsense": "x"}
    assert program(tx, **{k: v for k, v in others.items() if k not in row.example.extra}) == program(tx)
    equal(tx.update(updates=args[0], state=args[1], params=params), tx.update(*args))
    chained = optim.chain(tx)
    u, _ = jax.eval_shape(lambda g, s, p: chained.update(g, (s,), p, nonsense=jnp.ones(()), **row.example.extra), *args)
    assert avals(u) == avals(args[0])


def test_init_takes_shapes(entries):
    """On shapes `init` returns the arrays it returns for parameters, or says that it reads their values."""
    params = jax.tree.map(jnp.asarray, tree())
    others = jax.tree.map(lambda p: 2 * p + 1, params)
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)

    def check(row):
        tx = row.make()
        expected = tx.init(params)
        mine, other = ([plain(x).tobytes() for x in jax.tree.leaves(tx.init(p))] for p in (params, others))
        if mine != other or row.excepted("shapes"):
            with pytest.raises(TypeError, match="init reads the values of the parameters, got shapes"):
                tx.init(shapes)
            return
        state = tx.init(shapes)
        assert avals(state) == avals(expected)
        equal(state, expected)
        assert avals(jax.eval_shape(lambda: tx.init(shapes))) == avals(expected)

    check_all([row for row in ROWS if row.entry in entries], check, name=lambda row: row.id)


def test_a_stateless_row_takes_any_empty_state(entries):
    """Users of Optax pass None or () for a state that has no fields."""

    def check(row):
        tx, params = row.make(), tree()
        state = tx.init(params)
        if isinstance(state, tuple) and not state and not tx.facts.sequential:
            expected, _ = jax.eval_shape(tx.update, grads(params), state, params)
            for empty in (None, ()):
                u, new = jax.eval_shape(tx.update, grads(params), empty, params)
                assert new == empty
                assert avals(u) == avals(expected)

    check_all([row for row in ROWS if row.entry in entries], check, name=lambda row: row.id)


def test_init_compiles_nothing_outside_jit(entries):
    """However many shapes there are: a second tree of other shapes needs no program that the first did not."""
    compiled, sizes = [], count(11)

    def note(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(kwargs["fun_name"])

    def params():
        n, dtypes = next(sizes), {"a": np.float32, "b": jnp.bfloat16, "c": np.complex64}
        return {name: jax.device_put(np.ones((n, n)).astype(dtype)) for name, dtype in dtypes.items()}

    def check(row):
        if row.excepted("init"):
            return
        tx = row.make()
        tx.init(params())
        other = params()
        del compiled[:]
        tx.init(other)
        assert compiled == []

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        check_all([row for row in ROWS if row.entry in entries], check, name=lambda row: row.id)
    finally:
        jax.monitoring.clear_event_listeners()
