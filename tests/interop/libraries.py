"""Small programs of whole libraries that import Optax, run with Optax or with this library in its place.

python -m tests.interop.libraries optax|optim    print, as JSON, the numbers of each program, or its error

The argument says what `import optax` gives, in the libraries too. test_libraries.py compares the two.
"""

import importlib
import json
import sys
import traceback

import jax
import jax.numpy as jnp
import numpy as np

from optim.interop.optax import as_optax
from optim.optimizers.adam import adam

PROGRAMS = {}  # name -> (packages, program); a program takes `optax` and the packages, and returns arrays by name


def program(*packages):
    return lambda f: PROGRAMS.setdefault(f.__name__, (packages, f))[1]


def line(count=20):
    """Points in the plane, and a value for each, near a linear function."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 2)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(x @ [1.5, -0.5] + 0.3 + 0.1 * rng.normal(size=count), jnp.float32)


def digits(count=200):
    """Images of digits, between 0 and 1, and their labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return jnp.asarray(x[:count] / 16, jnp.float32), jnp.asarray(y[:count], jnp.int32)


def cross_entropy(logits, labels):
    return -jnp.mean(jnp.sum(jax.nn.one_hot(labels, 10) * jax.nn.log_softmax(logits), axis=-1))


@program()
def readme(optax):
    """The programs of Optax's README: `adam`, and a chain with a schedule, one step for each sample."""
    x, y = line()
    parts = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.scale_by_schedule(optax.exponential_decay(0.5, 20, 0.9)),
        optax.scale(-1.0),
    )

    def compute_loss(params, x, y):
        return optax.l2_loss(params["w"].dot(x), y)

    results = {}
    for name, optimizer in {"adam": optax.adam(0.1), "parts": parts}.items():
        params = {"w": jnp.ones((2,))}
        opt_state = optimizer.init(params)
        for a, b in zip(x, y, strict=True):
            grads = jax.grad(compute_loss)(params, a, b)
            updates, opt_state = optimizer.update(grads, opt_state)
            params = optax.apply_updates(params, updates)
        results[name] = params["w"]
    return results


@program("numpyro")
def svi(optax, numpyro):
    """Variational inference; SVI accepts instances of `optax.GradientTransformation`, and its own optimizers."""
    from numpyro import distributions as dist

    x, y = line()

    def model(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
        numpyro.sample("y", dist.Normal(x @ w, 0.5), obs=y)

    clipped = optax.chain(optax.clip(10.0), optax.adam(optax.cosine_decay_schedule(0.1, 40)))
    optimizers = {
        "direct": optax.adam(0.05),
        "as_optax": as_optax(adam(0.05)),  # this library's also where `optax` is Optax
        "converted": numpyro.optim.optax_to_numpyro(clipped),
    }
    results = {}
    for name, tx in optimizers.items():
        guide = numpyro.infer.autoguide.AutoNormal(model)
        inference = numpyro.infer.SVI(model, guide, tx, numpyro.infer.Trace_ELBO())
        result = inference.run(jax.random.key(0), 40, x, y, progress_bar=False)
        results[name] = [result.params["w_auto_loc"], result.params["w_auto_scale"], result.losses[-5:]]
    return results


@program("blackjax")
def samplers(optax, blackjax):
    """Approximations by a Gaussian and by particles, and Pathfinder, which is built on `optax.lbfgs`."""
    x, y = line()

    def logdensity(p):
        return -jnp.sum((x @ p["w"] + p["b"] - y) ** 2) - 0.5 * jnp.sum(p["w"] ** 2) - 0.5 * p["b"] ** 2

    start = {"w": jnp.zeros(2), "b": jnp.zeros(())}

    def scan(step, state):
        return jax.lax.scan(lambda s, key: (step(key, s)[0], None), state, jax.random.split(jax.random.key(1), 40))[0]

    gaussian = blackjax.meanfield_vi(logdensity, optax.adam(0.05), 20)
    found = scan(gaussian.step, gaussian.init(start))
    particles = blackjax.svgd(jax.grad(logdensity), optax.chain(optax.scale_by_rms(), optax.scale(-0.02)))
    crowd = particles.init({"w": jax.random.normal(jax.random.key(2), (8, 2)), "b": jnp.linspace(-1.0, 1.0, 8)})
    crowd = jax.lax.fori_loop(0, 20, lambda _, state: particles.step(state), crowd)
    path, _ = blackjax.vi.pathfinder.approximate(jax.random.key(0), logdensity, start, maxiter=20)
    return {
        "meanfield": [found.mu, found.rho],
        "svgd": crowd.particles,
        "pathfinder": [path.position, path.elbo],
    }


@program("flax")
def train_state(optax, flax):
    """`flax.training.train_state`, with decay of the kernels only."""
    from flax import linen as nn
    from flax.training.train_state import TrainState

    x, y = digits()
    model = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(10)])
    params = model.init(jax.random.key(0), x[:1])
    rate = optax.warmup_cosine_decay_schedule(0.0, 0.02, 5, 30)
    kernels = jax.tree.map(lambda p: p.ndim > 1, params)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adamw(rate, mask=kernels))

    @jax.jit
    def step(state):
        value, grads = jax.value_and_grad(lambda p: cross_entropy(state.apply_fn(p, x), y))(state.params)
        return state.apply_gradients(grads=grads), value

    losses = []
    for _ in range(30):
        state, value = step(state)
        losses.append(value)
    return {"losses": losses, "step": state.step, "params": state.params}


@program("flax")
def nnx(optax, flax):
    """`nnx.Optimizer`."""
    from flax import nnx

    x, y = digits()
    model = nnx.Sequential(nnx.Linear(64, 16, rngs=nnx.Rngs(0)), jax.nn.relu, nnx.Linear(16, 10, rngs=nnx.Rngs(1)))
    optimizer = nnx.Optimizer(model, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.02)), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        value, grads = nnx.value_and_grad(lambda m: cross_entropy(m(x), y))(model)
        optimizer.update(model, grads)
        return value

    losses = [step(model, optimizer) for _ in range(30)]
    return {"losses": losses, "params": nnx.to_pure_dict(nnx.state(model, nnx.Param))}


@program("optimistix")
def minimise(optax, optimistix):
    """`OptaxMinimiser`, until it has converged."""
    x, y = line()

    def f(w, _):
        return jnp.mean((x @ w[:2] + w[2] - y) ** 2)

    solver = optimistix.OptaxMinimiser(optax.adam(0.1, b1=0.8), rtol=1e-5, atol=1e-5)
    found = optimistix.minimise(f, solver, jnp.zeros(3), max_steps=500)
    best = optimistix.minimise(f, optimistix.BestSoFarMinimiser(solver), jnp.zeros(3), max_steps=500)
    return {"value": found.value, "steps": found.stats["num_steps"], "best": best.value}


@program("jaxopt")
def solver(optax, jaxopt):
    """`jaxopt.OptaxSolver`, which also differentiates the solution."""
    x, y = line()

    def f(w, ridge):
        return jnp.mean((x @ w - y) ** 2) + ridge * jnp.sum(w**2)

    solver = jaxopt.OptaxSolver(f, optax.adam(0.1), maxiter=60, implicit_diff=True)
    w, state = solver.run(jnp.zeros(2), ridge=0.1)
    slope = jax.jacobian(lambda ridge: solver.run(jnp.zeros(2), ridge=ridge).params)(0.1)
    return {"params": w, "residual": state.error, "slope": slope}


@program("haiku")
def mnist(optax, haiku):
    """Haiku's example of MNIST: a perceptron with weight decay in the loss, and the average of its parameters."""
    x, y = digits()
    network = haiku.without_apply_rng(haiku.transform(lambda x: haiku.nets.MLP([32, 16, 10])(x)))
    params = average = network.init(jax.random.key(0), x)
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)

    def loss(params):
        decay = 0.5 * sum(jnp.sum(jnp.square(p)) for p in jax.tree.leaves(params))
        return cross_entropy(network.apply(params, x), y) + 1e-4 * decay

    @jax.jit
    def step(params, average, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        params = optax.apply_updates(params, updates)
        return params, optax.incremental_update(params, average, step_size=0.1), state, value

    losses = []
    for _ in range(40):
        params, average, state, value = step(params, average, state)
        losses.append(value)
    return {"losses": losses, "average": average}


def main(which):
    if which == "optim":
        from ..reference import stand_in

        stand_in.install(private=False)
    import optax

    assert optax.__name__ == which, optax
    results = {}
    for name, (packages, run) in PROGRAMS.items():
        try:
            modules = [importlib.import_module(package) for package in packages]
            found = run(optax, *modules)
            results[name] = {key: [np.asarray(x).tolist() for x in jax.tree.leaves(x)] for key, x in found.items()}
        except ModuleNotFoundError as error:
            results[name] = {"missing": str(error)} if error.name in packages else {"error": traceback.format_exc()}
        except Exception:
            results[name] = {"error": traceback.format_exc()}
    if which == "optim":
        assert not [name for name, x in sys.modules.items() if name.startswith("optax") and "optax" in str(x)]
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
