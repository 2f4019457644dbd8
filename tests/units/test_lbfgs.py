"""L-BFGS: as few evaluations as SciPy on standard problems, the steps of Optax, and what its memory holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optim

from ..every.rows import close, finite

pytestmark = pytest.mark.slow

optax = pytest.importorskip("optax", reason="Optax is a test dependency")


# Problems: (the loss, where it starts)


def rosenbrock(n):
    return lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), np.tile([-1.2, 1.0], n // 2)


def quadratic(n=30, condition=1e4):
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(n, n)))
    root = jnp.asarray(np.sqrt(np.geomspace(1, condition, n))[:, None] * turn)
    return lambda x: 0.5 * jnp.sum(jnp.square(root @ (x - 1))), np.zeros(n)


def datasets():
    from sklearn import datasets  # which takes seconds to import

    return datasets


def breast_cancer():
    x, y = datasets().load_breast_cancer(return_X_y=True)
    x, sign = jnp.asarray((x - x.mean(0)) / x.std(0)), jnp.asarray(2.0 * y - 1)
    return lambda w: jnp.mean(jnp.logaddexp(0.0, -sign * (x @ w))) + 5e-4 * jnp.sum(w**2), np.zeros(x.shape[1])


def digits():
    x, y = datasets().load_digits(return_X_y=True)
    x, one_hot = jnp.asarray(x / 16), jnp.asarray(np.eye(10)[y])

    def loss(w):
        z = x @ w.reshape(64, 10)
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.sum(z * one_hot, axis=1)) + 5e-4 * jnp.sum(w**2)

    return loss, np.zeros(640)


def beale():
    def loss(x):
        return sum((c - x[0] * (1 - x[1] ** k)) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625)))

    return loss, np.ones(2)


def powell(n=20):
    def loss(x):
        a, b, c, d = x.reshape(-1, 4).T
        return jnp.sum((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4)

    return loss, np.tile([3.0, -1.0, 0.0, 1.0], n // 4)


def wood():
    def loss(x):
        a, b, c, d = x
        one = 100 * (a**2 - b) ** 2 + (a - 1) ** 2 + 90 * (c**2 - d) ** 2 + (c - 1) ** 2
        return one + 10.1 * ((b - 1) ** 2 + (d - 1) ** 2) + 19.8 * (b - 1) * (d - 1)

    return loss, np.array([-3.0, -1.0, -3.0, -1.0])


PROBLEMS = {
    "rosenbrock_2": lambda: rosenbrock(2),
    "rosenbrock_10": lambda: rosenbrock(10),
    "rosenbrock_100": lambda: rosenbrock(100),
    "quadratic": quadratic,
    "breast_cancer": breast_cancer,
    "digits": digits,
    "beale": beale,
    "powell_20": powell,
    "wood": wood,
}
TOLERANCE = 1e-6  # of the largest element of the gradient, for both


def by_scipy(loss, start):
    """The smallest loss, and how often it was evaluated on the way."""
    value_and_grad = jax.jit(jax.value_and_grad(loss))
    options = {"gtol": TOLERANCE, "ftol": 0, "maxiter": 2000, "maxfun": 2000}
    from scipy.optimize import minimize  # which takes a second to import

    found = minimize(
        lambda x: tuple(map(np.asarray, value_and_grad(x))), start, jac=True, method="L-BFGS-B", options=options
    )
    assert np.max(np.abs(found.jac)) <= TOLERANCE
    return float(found.fun), found.nfev


def by_library(loss, start, lib=optim):
    """The same: one evaluation at the start, and those of the line search."""
    tx, value_and_grad = lib.lbfgs(), lib.value_and_grad_from_state(loss)

    def step(carry):
        x, state, evaluations = carry
        value, grad = value_and_grad(x, state=state)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return lib.apply_updates(x, updates), state, evaluations + state[-1].info.num_linesearch_steps

    def goes_on(carry):
        _, state, evaluations = carry
        return (evaluations == 1) | ((jnp.max(jnp.abs(state[-1].grad)) > TOLERANCE) & (evaluations < 2000))

    x = jnp.asarray(start)
    state = tx.init(x)
    carry = x, state, jnp.ones_like(state[-1].info.num_linesearch_steps)
    _, state, evaluations = jax.jit(lambda c: jax.lax.while_loop(goes_on, step, c))(carry)
    assert jnp.max(jnp.abs(state[-1].grad)) <= TOLERANCE
    return float(state[-1].value), int(evaluations)


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_more_evaluations_than_scipy(name, x64):
    """SciPy's optimum to the same gradient, in at most 1.2 times its evaluations."""
    loss, start = PROBLEMS[name]()
    best, theirs = by_scipy(loss, start)
    value, ours = by_library(loss, start)
    assert value == pytest.approx(best, rel=1e-9, abs=1e-8)
    assert ours <= 1.2 * theirs


def test_the_search_counts_every_evaluation(x64):
    """The loss counts its calls when they run and when they are traced."""
    loss, start = rosenbrock(2)
    evaluated, traced, counts = [], [], []

    def counted(x):
        traced.append(1)
        jax.debug.callback(lambda: evaluated.append(1))
        return loss(x)

    tx, value_and_grad = optim.lbfgs(), optim.value_and_grad_from_state(counted)
    x = jnp.asarray(start)
    state, said = tx.init(x), 1

    @jax.jit
    def step(x, state):
        value, grad = value_and_grad(x, state=state)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=counted)
        return optim.apply_updates(x, updates), state

    for _ in range(60):
        x, state = step(x, state)
        counts.append(len(traced))
        said += int(state[-1].info.num_linesearch_steps)
        if jnp.max(jnp.abs(state[-1].grad)) <= TOLERANCE:
            break
    jax.effects_barrier()
    assert len(evaluated) == said == by_library(loss, start)[1]
    assert len(set(counts)) == 1  # all traces are of the first step
    np.testing.assert_allclose(x, 1, atol=1e-6)


# Optax


def trajectory(lib, tx, loss, start, steps, dtype):
    x = jnp.asarray(start, dtype)
    state, rows = tx.init(x), []

    @jax.jit
    def step(x, state):
        value, grad = jax.value_and_grad(loss)(x)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return lib.apply_updates(x, updates), state

    for _ in range(steps):
        x, state = step(x, state)
        rows.append(np.asarray(x))
    return np.stack(rows), state


def logistic(dtype):
    rng = np.random.default_rng(0)
    x, sign = jnp.asarray(rng.normal(size=(40, 6)), dtype), jnp.asarray(np.sign(rng.normal(size=40)), dtype)
    return lambda w: jnp.mean(jnp.logaddexp(0, -sign * (x @ w))) + 0.01 * jnp.sum(w**2), np.zeros(6)


SAME = {
    "logistic": (logistic, {}),
    "quadratic": (lambda dtype: (lambda x: jnp.sum(jnp.arange(1, 9, dtype=dtype) * (x - 1) ** 2), np.zeros(8)), {}),
    "backtracking": (
        lambda dtype: rosenbrock(4),
        {"linesearch": ("scale_by_backtracking_linesearch", {"max_backtracking_steps": 15})},
    ),
    "scheduled": (logistic, {"learning_rate": lambda count: 0.5 / (1.0 + count), "linesearch": None}),
    "short_memory": (logistic, {"learning_rate": 0.3, "memory_size": 2, "scale_init_precond": False}),
}


@pytest.mark.parametrize("name", SAME)
def test_same_steps_as_optax(name, x64, standard_promotion):
    """25 in float64, and in float32 as far as rounding lets them stay together."""
    problem, given = SAME[name]

    def make(lib):
        search = given.get("linesearch")
        more = {"linesearch": getattr(lib, search[0])(**search[1])} if search else {}
        return lib.lbfgs(**{**given, **more})

    for dtype, steps, rtol in ((jnp.float64, 25, 1e-6), (jnp.float32, 8, 1e-3)):
        loss, start = problem(dtype)
        ours, state = trajectory(optim, make(optim), loss, start, steps, dtype)
        theirs, other = trajectory(optax, make(optax), loss, start, steps, dtype)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
        mine, others = jax.tree.leaves(state[0]), jax.tree.leaves(other[0])
        assert [(x.shape, x.dtype) for x in mine] == [(x.shape, x.dtype) for x in others]


# Its memory


def test_memory_is_that_of_the_last_pairs():
    tx = optim.scale_by_lbfgs(3)
    ps, gs = [jnp.full(2, float(n * n)) for n in range(6)], [jnp.array([1.0, 2.0]) * n for n in range(6)]
    state = tx.init(ps[0])
    for g, p in zip(gs, ps, strict=True):
        _, state = tx.update(g, state, p)
    rows = [2, 3, 4]  # the pair from n to n + 1 is in row n % 3
    for n in rows:
        s, y = ps[n + 1] - ps[n], gs[n + 1] - gs[n]
        np.testing.assert_allclose(state.diff_params_memory[n % 3], s)
        np.testing.assert_allclose(state.diff_updates_memory[n % 3], y)
        np.testing.assert_allclose(state.weights_memory[n % 3], 1 / jnp.vdot(s, y), rtol=1e-6)
    np.testing.assert_array_equal(state.params, ps[-1])
    np.testing.assert_array_equal(state.updates, gs[-1])


def test_pairs_without_curvature_are_left_out():
    """The step is uphill of what is known, or there is none: H stays what it was, and positive."""
    tx, p = optim.scale_by_lbfgs(4), jnp.array([1.0, 0.0])
    _, state = tx.update(p, tx.init(p), p)
    good, state = tx.update(3 * p, state, 2 * p)
    np.testing.assert_allclose(good, [1.5, 0])  # s = p, y = 2 p: H = 1 / 2
    for g, q in ((jnp.array([2.0, 1.0]), 3 * p), (jnp.array([7.0, 7.0]), 3 * p)):
        u, state = tx.update(g, state, q)
        assert np.sum(np.asarray(state.weights_memory) > 0) == 1
        np.testing.assert_allclose(u, [g[0] / 2, g[1] / 2])
    _, state = tx.update(jnp.array([jnp.inf, 0.0]), state, 4 * p)
    for _ in range(6):
        u, state = tx.update(p, state, p)
        assert finite((u, state))


def test_a_zero_gradient_at_first_does_not_end_it():
    tx, p = optim.lbfgs(0.5, linesearch=None), jnp.ones(3)
    state = tx.init(p)
    for scale in (0.0, 0.0, 1.0, 1.0):
        u, state = tx.update(scale * p, state, p)
        p = optim.apply_updates(p, u)
    assert jnp.all(p < 1)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_memory_is_sharded_as_its_parameter(axis_type):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(axis_type,))
    params = jax.device_put(jnp.ones((16, 3)), NamedSharding(mesh, PartitionSpec("d")))
    tx = optim.scale_by_lbfgs(5)
    with jax.set_mesh(mesh):
        states = [tx.init(params), jax.jit(tx.init)(params)]
        states.append(jax.jit(tx.update)(params, states[1], params)[1])
    for state in states:
        for memory in (state.diff_params_memory, state.diff_updates_memory):
            assert memory.shape == (5, 16, 3)
            assert memory.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(None, "d")), 3), memory.sharding


def test_narrow_parameters_have_a_wide_memory():
    p = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.complex64), "n": None, "i": jnp.arange(2)}
    state = optim.scale_by_lbfgs(3).init(p)
    dtypes = {k: x.dtype for k, x in state.diff_params_memory.items() if x is not None}
    assert dtypes == {"a": jnp.float32, "b": jnp.complex64}


def test_it_converges_in_float32_and_for_trees_with_complex_leaves():
    target = jnp.array([1 + 2j, -0.5j], jnp.complex64)

    def loss(p):
        far = jnp.square(jnp.abs(p["z"] - target)) * jnp.array([1.0, 20.0])
        return jnp.sum(far) + 100 * jnp.sum((p["x"][1:] - p["x"][:-1] ** 2) ** 2) + jnp.sum((1 - p["x"]) ** 2)

    tx, value_and_grad = optim.lbfgs(), optim.value_and_grad_from_state(loss)
    params = {"z": jnp.zeros(2, jnp.complex64), "x": jnp.array([-1.2, 1.0])}
    state = tx.init(params)
    for _ in range(60):
        value, grad = value_and_grad(params, state=state)
        grad = jax.tree.map(jnp.conj, grad)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        params = optim.apply_updates(params, updates)
    close(params, {"z": target, "x": jnp.ones(2)}, rtol=1e-3, atol=1e-3)


def test_a_whole_step():
    """In `make_step` the loss and its gradient come from the step."""

    def loss(params, target):
        return jnp.sum(jnp.square(params["w"] - target)) + jnp.sum(jnp.square(params["b"]))

    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    tx = optim.lbfgs()
    step, state = optim.make_step(loss, tx, donate=False), tx.init(params)
    for _ in range(4):
        params, state, value = step(params, state, 0.25)
    assert value < 1e-8
    close(params, {"w": jnp.full(3, 0.25), "b": jnp.zeros(2)}, atol=1e-4)
