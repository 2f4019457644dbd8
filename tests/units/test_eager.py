"""Outside `jit`: no compilation in `init`, one program for equal transformations, none that freezes a value."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optim

from ..every.rows import close, grads, tree


def registered(traces):
    """A registered schedule that says when it is called: in a trace, or for a step that is not compiled."""

    @optim.register(kind="schedule", ranges={})
    def counting_schedule():
        def schedule(count):
            traces.append(count)
            return 0.1 / (1.0 + count.astype(float))

        return optim.ScheduleFn(schedule)

    return counting_schedule()


@pytest.fixture
def counted():
    """A registered schedule, and the list that grows with each call of it."""
    traces = []
    yield registered(traces), traces
    optim.core.registry._entries.pop("counting_schedule")


@pytest.fixture
def compilations():
    """The list that grows with each program that XLA compiles."""
    found = []

    def note(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(kwargs)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.clear_event_listeners()


def steps(tx, n, params=None, **extra):
    params = tree() if params is None else params
    state = tx.init(params)
    for i in range(n):
        u, state = tx.update(grads(params, i), state, params, **extra)
        params = optim.apply_updates(params, u)
    return params, state


def test_one_trace_for_many_steps_and_equal_transformations(counted):
    schedule, traces = counted
    kept = [optim.adam(schedule), optim.adam(learning_rate=schedule, b1=0.9)]
    steps(kept[0], 4)
    assert len(traces) == 1
    steps(kept[1], 2)
    assert len(traces) == 1
    steps(optim.adam(schedule, b1=0.8), 2)
    assert len(traces) == 2
    steps(kept[0], 2, tree(jnp.bfloat16))
    assert len(traces) == 3


def test_an_array_is_an_input_of_the_program(counted):
    schedule, traces = counted

    def make(b1, rate):
        return optim.chain(optim.scale_by_adam(b1=b1), optim.masked(optim.scale(rate), True), optim.sgd(schedule))

    pairs = ((0.5, 1.0), (0.9, 1.0), (0.9, 2.0))
    txs = [make(jnp.float32(b1), jnp.asarray(rate)) for b1, rate in pairs]
    results = [steps(tx, 2)[0] for tx in txs]
    assert len(traces) == 1
    for (b1, rate), ours in zip(pairs, results, strict=True):
        close(ours, steps(make(b1, rate), 2)[0], rtol=1e-5)
    assert not np.allclose(results[0]["w"], results[1]["w"])


def test_eager_is_the_jitted_update():
    tx, params = optim.chain(optim.clip_by_global_norm(0.5), optim.adamw(0.1)), tree()
    state = tx.init(params)
    close(tx.update(grads(params), state, params), jax.jit(tx.update)(grads(params), state, params))


def test_a_bare_function_is_called_each_time():
    """A schedule, a mask and labels that read something outside follow it."""
    world = {"rate": 0.1, "mask": True, "label": "a"}
    txs = [
        optim.sgd(lambda count: world["rate"]),
        optim.chain(optim.scale(-0.1), optim.masked(optim.set_to_zero(), lambda params: not world["mask"])),
        optim.partition({"a": optim.sgd(0.1), "b": optim.sgd(0.5)}, lambda params: world["label"]),
        optim.chain(optim.adamw(0.1, mask=lambda params: world["mask"])),
    ]
    params, g = tree(), grads(tree())
    states = [tx.init(params) for tx in txs]
    before = [tx.update(g, state, params)[0]["w"] for tx, state in zip(txs, states, strict=True)]
    world.update(rate=0.5, mask=False)
    after = [tx.update(g, state, params)[0]["w"] for tx, state in zip(txs, states, strict=True)]
    np.testing.assert_allclose(after[0], 5 * before[0], rtol=1e-6)
    np.testing.assert_array_equal(after[1], 0)
    assert not np.array_equal(before[3], after[3])
    world["label"] = "b"
    np.testing.assert_allclose(txs[2].update(g, states[2], params)[0]["w"], 5 * before[2], rtol=1e-6)


def test_a_subclass_is_run_as_it_is():
    class Halved(optim.MultiSteps):
        """A factory that is a class honours the class it is called on."""

    tx = Halved(optim.sgd(0.1), 1)
    assert type(tx) is Halved
    assert repr(tx) == "Halved(sgd(0.1), 1)"
    assert tx == Halved(optim.sgd(0.1), 1) != optim.MultiSteps(optim.sgd(0.1), 1)
    params = tree()
    close(tx.update(grads(params), tx.init(params))[0], jax.tree.map(lambda g: -0.1 * g, grads(params)))


def test_programs_end_with_their_transformations(counted):
    schedule, traces = counted
    rate = jnp.asarray(0.1)
    mask = {"w": True, "b": False, "deep": {"s": True}}
    tx = optim.chain(optim.sgd(schedule), optim.masked(optim.scale(rate), mask))
    steps(tx, 1)
    held = weakref.ref(rate), weakref.ref(tx.update)
    del tx, rate
    gc.collect()
    assert [ref() for ref in held] == [None, None]
    steps(optim.chain(optim.sgd(schedule), optim.masked(optim.scale(jnp.asarray(0.1)), mask)), 1)
    assert len(traces) == 2


def test_clear_caches_reaches_the_programs(counted):
    schedule, traces = counted
    tx = optim.sgd(schedule)
    steps(tx, 2)
    jax.clear_caches()
    steps(tx, 2)
    assert len(traces) == 2


def test_another_factory_of_the_name_is_another_program():
    def make(factor):
        @optim.register()
        def of_this_test():
            return optim.elementwise(lambda g: factor * g)

        return of_this_test()

    first, second = make(2.0), make(3.0)
    params = jnp.ones(2)
    outs = [tx.update(params, tx.init(params))[0][0] for tx in (first, second, first)]
    optim.core.registry._entries.pop("of_this_test")
    assert outs == [2.0, 3.0, 2.0]


def test_a_registered_function_that_looks_at_values_says_so_once():
    @optim.register(kind="function")
    def positive(params):
        return jax.tree.map(lambda x: bool((x > 0).all()), params)

    tx, params = optim.masked(optim.scale(0.0), positive), tree()
    with pytest.warns(UserWarning, match="masked: outside jit its updates run one operation at a time"):
        tx.update(grads(params), tx.init(params), params)
    u, _ = tx.update(grads(params), tx.init(params), params)  # a second warning would be an error
    optim.core.registry._entries.pop("positive")
    np.testing.assert_array_equal(u["deep"]["s"], 0)
    np.testing.assert_array_equal(u["w"], grads(params)["w"])


def test_leaves_on_several_devices():
    here, there = jax.devices()[:2]
    params = {"a": jax.device_put(jnp.ones(2), here), "b": jax.device_put(jnp.ones(2), there)}
    tx = optim.adam(0.1)
    state = tx.init(params)
    with pytest.warns(UserWarning, match="adam: outside jit its updates run one operation at a time"):
        u, state = tx.update(params, state, params)
    new = optim.apply_updates(params, u)
    assert {k: x.devices() for k, x in new.items()} == {"a": {here}, "b": {there}}


def test_a_schedule_that_looks_at_the_count():
    def by_hand(count):
        return 0.1 if count < 2 else 0.01

    params, state = steps(optim.sgd(by_hand), 3)
    expected = tree()
    for n, rate in enumerate((0.1, 0.1, 0.01)):
        expected = jax.tree.map(lambda p, g, r=rate: p - r * g, expected, grads(expected, n))
    close(params, expected)
    assert int(optim.inspect(optim.sgd(by_hand), state)["step"]) == 3


def test_another_library_is_run_as_it_is(standard_promotion):
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    traced = []

    def update(updates, state, params=None):
        traced.append(any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(updates)))
        return updates, state

    tx = optim.chain(optim.scale(1.0), optax.GradientTransformation(lambda p: (), update))
    steps(tx, 2)
    assert traced == [False, False]


def test_extra_arguments_are_inputs_or_called(counted):
    schedule, traces = counted
    tx = optim.sgd(schedule)
    for value in (0.5, 0.25, jnp.float32(1.0)):
        steps(tx, 1, value=jnp.asarray(value, jnp.float32))
    assert len(traces) == 1
    steps(tx, 1, word="x")
    assert len(traces) == 2
    steps(tx, 2, value_fn=abs)  # a function: each step is on its own
    assert len(traces) == 4


def test_under_transformations_nothing_is_compiled_apart():
    tx, params = optim.adam(0.1), tree()
    state = tx.init(params)
    outer = jax.make_jaxpr(lambda g: tx.update(g, state, params))(grads(params))
    assert "update" not in {e.params.get("name") for e in outer.eqns}
    many = jax.tree.map(lambda g: jnp.stack([g, 2 * g]), grads(params))
    u = jax.vmap(lambda g: tx.update(g, state, params)[0])(many)
    close(jax.tree.map(lambda x: x[0], u), tx.update(grads(params), state, params)[0])
    empty = optim.scale(1.0).init(params)
    slope = jax.grad(lambda rate: optim.scale(rate).update(grads(params), empty)[0]["deep"]["s"])
    close(slope(0.5), grads(params)["deep"]["s"])


def test_errors_are_those_of_the_update():
    tx, params = optim.adam(0.1), tree()
    with pytest.raises(
        ValueError, match=r"adam: updates\['w'\] has shape \(3, 1\), state.mu\['w'\] has \(3, 2\)|params"
    ):
        tx.update({**grads(params), "w": jnp.ones((3, 1))}, tx.init(params), params)


def test_init_compiles_nothing(compilations):
    """For sixty leaves of sixty shapes, in three dtypes: there would be a program for each."""
    dtypes = (jnp.float32, jnp.bfloat16, jnp.complex64)
    params = [jax.device_put(np.ones((3, 100 + i)).astype(dtypes[i % 3])) for i in range(60)]
    tx = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3, b1=0.995))
    del compilations[:]
    state = tx.init(params)
    assert compilations == []
    assert [x.shape for x in jax.tree.leaves(state[1][0].mu)] == [p.shape for p in params]


def test_apply_updates_is_one_program(compilations):
    params = [jnp.asarray(np.ones((2, 200 + i), np.float32)) for i in range(9)]
    updates = [jnp.asarray(np.ones((2, 200 + i), np.float32)) for i in range(9)]
    del compilations[:]
    for _ in range(2):
        params = optim.apply_updates(params, updates)
    assert len(compilations) == 1
    np.testing.assert_array_equal(params[0], 3)
