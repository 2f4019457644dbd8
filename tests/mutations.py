"""Break the library on purpose, one line at a time, and see that the suite tells. Not a part of CI.

python -m tests.mutations [WORD...]     all mutations, or those whose names contain a word

Each mutation replaces a text that stands once in `optim` (or in the file given) of a temporary copy of the repository,
then runs the tests given. Whoever moves or rewrites the text rewrites it here.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ["optim", "tests", "docs", "examples", "benchmarks", ".ci", "pyproject.toml"]
PARTS += ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"]


@dataclass(frozen=True)
class Mutation:
    name: str
    old: str
    new: str
    tests: str
    within: str = "optim/**/*.py"


def sweep(factory: str, test: str, folder: str = "every") -> str:
    return f"tests/{folder} --factory {factory} -k {test}"


MUTATIONS = [
    # The numbers
    Mutation(
        "a fresh slot forgets its parameter's sharding",
        "return jnp.where(False, lax.convert_element_type(x, dtype), jnp.asarray(value, dtype))",
        "return jnp.full(x.shape, value, dtype)",
        sweep("scale_by_adam", "sharding"),
    ),
    Mutation(
        "the derivative of a root is infinite at zero",
        "slope = jnp.where(positive, 0.5 / _root(jnp.where(positive, x, 1)), 0)",
        "slope = 0.5 / _root(x)",
        sweep("scale_by_adam", "derivative"),
    ),
    Mutation(
        "an average drifts with its rounded decay",
        "return add(x, mul(complement(x, decay), sub(g, x)))",
        "return like(x, decay) * x + complement(x, decay) * g",
        sweep("scale_by_adam", "float32_follows"),
    ),
    Mutation(
        "a bias correction loses its digits",
        "return lax.neg(lax.expm1(mul(time, log)))",
        "return 1 - decay**time",
        sweep("scale_by_adam", "float32_follows"),
    ),
    Mutation(
        "no bias correction",
        "return mul(x, inverse_bias(t, decay, real_dtype(x.dtype)))",
        "return x",
        sweep("scale_by_adam", "is_the_paper", "golden"),
    ),
    Mutation(
        "eps stands under the root",
        "below = add(root_of_square(inside), like(bottom, eps))",
        "below = root_of_square(add(inside, like(bottom, eps)))",
        sweep("scale_by_adam", "is_the_paper", "golden"),
    ),
    Mutation(
        "MoMo does not divide its step by the weight decay",
        "step = step / growth if decay_step else step",
        "step = step",
        sweep("momo", "is_the_paper", "golden"),
    ),
    Mutation(
        "GaLore projects the long side",
        'return rows <= columns if projected_side == "short" else rows >= columns',
        'return rows >= columns if projected_side == "short" else rows <= columns',
        sweep("scale_by_galore", "is_the_paper", "golden"),
    ),
    Mutation(
        "LARS divides by the norm of the sum",
        "root(jnp.sum(square(g))) + root(jnp.sum(square(u - g)))",
        "root(jnp.sum(square(u)))",
        sweep("lars", "is_the_paper", "golden"),
    ),
    Mutation(
        "Muon corrects the bias of its mean",
        "return (ema(mu, g, beta) if nesterov else mu), mu",
        "return (nesterov_mean(mu, g, beta, t) if nesterov else mu), mu",
        sweep("scale_by_muon", "is_the_paper", "golden"),
    ),
    Mutation(
        "a factory without a case of another package passes",
        'exceptions={"independent": "it is one maximum"}',
        "exceptions={}",
        "tests/reference/test_independent.py -k every_factory",
    ),
    Mutation(
        "the sign of the learning rate",
        "return scale(-floating(number) if flip_sign else number)",
        "return scale(floating(number))",
        sweep("adam", "is_the_paper", "golden"),
    ),
    Mutation(
        "the clip factor is the inverse",
        "lax.div(most, lax.select(over, norm, one))",
        "lax.div(lax.select(over, norm, one), most)",
        sweep("clip_by_global_norm", "is_the_paper", "golden"),
    ),
    Mutation(
        "a program freezes a user's function",
        "if grain is None or not all(map(_is_fixed, leaves(call))):",
        "if grain is None:",
        "tests/units/test_eager.py -k bare_function",
    ),
    Mutation(
        "a fresh slot is compiled for every shape",
        "put: Array = jax.device_put(x, like.sharding if isinstance(like, jax.Array) and like.committed else None)",
        "put: Array = jnp.asarray(x)",
        "tests/units/test_eager.py -k init_compiles",
    ),
    Mutation(
        "a huge gradient leaves an infinite moment",
        "return saturated(square(g))",
        "return square(g)",
        sweep("scale_by_adam", "magnitudes or huge"),
    ),
    # Dtypes, weak types, buffers
    Mutation(
        "a rule computes in the dtype of its gradient",
        "dtype = numerics.common_dtype(jnp.float32, *floats)",
        "dtype = numerics.common_dtype(*floats)",
        "tests/units/test_lift.py tests/units/test_faults.py",
    ),
    Mutation(
        "a new slot is not cast to the old one's dtype",
        "jax.tree.map(lambda n, o: _narrowed(n, o, reals), x, old) if slot.stored else None",
        "x if slot.stored else None",
        sweep("scale_by_adam", "dtype"),
    ),
    Mutation(
        "a weak parameter becomes strong",
        "return numerics.convert(moved, p.dtype, weak=p.weak_type)",
        "return numerics.convert(moved, p.dtype)",
        sweep("scale_by_adam", "weak"),
    ),
    Mutation(
        "a slot shares its buffer with its parameter",
        "copy: Array = jax.device_put(x, x.sharding if x.committed else None, may_alias=False)",
        "copy: Array = x",
        sweep("scale_by_madgrad", "donated"),
    ),
    Mutation(
        "a count is weakly typed",
        "return fresh(0, jnp.int32)",
        "return jnp.asarray(0)",
        sweep("scale_by_adam", "scan"),
    ),
    Mutation(
        "one program for all calls of a factory",
        "_programs.setdefault(_key(call), _Program(make))",
        "_programs.setdefault(call.name, _Program(make))",
        "tests/units/test_eager.py",
    ),
    # None, trees, extra arguments
    Mutation(
        "a parameter without an update is lost",
        "    if tree.absent(u):\n        return p\n",
        "    if tree.absent(u):\n        return u\n",
        sweep("scale_by_adam", "none"),
    ),
    Mutation(
        "extra arguments reach an update that does not name them",
        "{k: v for k, v in extra_args.items() if k in named}",
        "extra_args",
        "tests/units/test_compose.py tests/units/test_mistakes.py",
    ),
    Mutation(
        "a shape that does not fit is let in",
        'checks.fail(f"updates{path} has shape {shape}, {name}{path} has {jnp.shape(other)}")',
        "return",
        sweep("scale_by_adam", "wrong_trees"),
    ),
    # What a transformation knows
    Mutation(
        "equal calls have other hashes",
        "return hash((self.name, _hashable(self.arguments)))",
        "return id(self)",
        sweep("adam", "record"),
    ),
    Mutation(
        "calls with other arguments are equal",
        "isinstance(other, Call) and self.name == other.name and same(self.arguments, other.arguments)",
        "isinstance(other, Call) and self.name == other.name",
        "tests/every/test_arguments.py -k no_two_calls",
    ),
    Mutation(
        "a config forgets that a tuple is one",
        'return {"$tuple": [_encode(v, f"{where}[{i}]") for i, v in enumerate(x)]}',
        'return [_encode(v, f"{where}[{i}]") for i, v in enumerate(x)]',
        "tests/every/test_arguments.py -k record",
    ),
    # The house
    Mutation(
        "a factory is not exported",
        "scale_by_yogi as scale_by_yogi",
        "scale_by_yogi as _scale_by_yogi",
        "tests/house/test_names.py",
        "optim/__init__.py",
    ),
    Mutation(
        "a primitive does not name its source",
        "    Source: ",
        "    After: ",
        "tests/house/test_docstrings.py",
        "optim/optimizers/yogi.py",
    ),
    Mutation(
        "an import goes up",
        "def common_dtype(",
        "def _upward():\n    from ..optimizers import adam\n\n\ndef common_dtype(",
        "tests/house/test_rooms.py",
    ),
    Mutation(
        "a factory has no golden",
        '"scale_by_yogi",',
        '"scale_by_other",',
        sweep("scale_by_yogi", "is_the_paper", "golden"),
        "tests/golden/papers/yogi.py",
    ),
    # Losses
    Mutation(
        "a loss computes in the dtype of its operands",
        "dtype = numerics.wide_dtype(common_dtype(*arrays))",
        "dtype = common_dtype(*arrays)",
        "tests/losses/test_values.py -k huber",
    ),
    Mutation(
        "a list without an item has no loss",
        "return jnp.where(mass == 0, 0, jnp.log(jnp.where(mass == 0, 1, mass)))",
        "return jnp.log(mass)",
        "tests/losses/test_edges.py -k softmax",
    ),
    Mutation(
        "the passes over the logits share their conversion to float32",
        "_barrier: Any = lax.optimization_barrier  # untyped in jax",
        "_barrier: Any = lambda x: x",
        "tests/losses/test_memory.py -k temporaries",
    ),
    Mutation(
        "a compiled loss stores its softmax",
        "return jax.checkpoint(f, prevent_cse=False)",
        "return f",
        "tests/losses/test_memory.py -k stored",
    ),
    Mutation(
        "a negative label has no place in the gradient",
        "index = jnp.expand_dims(jnp.where(labels < 0, labels + shape[axis], labels), axis)",
        "index = jnp.expand_dims(labels, axis)",
        "tests/losses/test_memory.py -k labels",
    ),
    Mutation(
        "the divergence of two zeros",
        "return targets * (top - jnp.where(unused & jnp.isinf(log_predictions), 0, log_predictions))",
        "return targets * (top - log_predictions)",
        "tests/losses/test_edges.py -k kl_divergence",
    ),
    Mutation(
        "equal labels need no blank between them",
        "repeated = jnp.where(y[:, 1:] == y[:, :-1], nothing, 0)",
        "repeated = 0 * nothing",
        "tests/losses/test_values.py -k ctc",
    ),
    Mutation(
        "a class that is absent has all the weight",
        "weights = jnp.where(present, (least / jnp.where(present, volumes, least)) ** 2, 1)",
        "weights = jnp.where(present, (least / jnp.where(present, volumes, least)) ** 2, 1e8)",
        "tests/losses/test_values.py -k generalized_dice",
    ),
    Mutation(
        "operands are broadcast",
        "if y.shape != arrays[0].shape and not (scalars and y.shape == ()):",
        "if y.ndim != arrays[0].ndim and not (scalars and y.shape == ()):",
        "tests/losses/test_errors.py -k broadcast",
    ),
    Mutation(
        "a range lets 1 in",
        "DECAY = Range(0, 1, open_high=True)",
        "DECAY = Range(0, 1)",
        "tests/units/test_mistakes.py tests/house/test_docstrings.py",
    ),
    # Derivatives, assignment, perturbations, micro-batches
    Mutation(
        "a product with the Hessian is conjugated",
        "return [jnp.conj(g) if numerics.is_complex(g) else g for g in jax.grad(f)(leaves)]",
        "return jax.grad(f)(leaves)",
        "tests/units/test_second_order.py -k complex",
    ),
    Mutation(
        "dual variables of columns stay at zero",
        "return u, v - slack, row_of, column_of",
        "return u, v, row_of, column_of",
        "tests/units/test_assignment.py -k scipy",
    ),
    Mutation(
        "the density of a perturbation ignores its scale",
        "log_prob = noise.log_prob(z_of_x) - jnp.log(scale)",
        "log_prob = noise.log_prob(z_of_x)",
        "tests/units/test_perturbations.py -k polynomial",
    ),
    Mutation(
        "derivatives have no baseline",
        "terms += (1 - weights) * jnp.where(jnp.isfinite(constant), constant, 0)",
        "pass",
        "tests/units/test_perturbations.py -k baseline",
    ),
    Mutation(
        "micro-batches have consecutive examples",
        "return x.reshape(*x.shape[:axis], size, n // size, *x.shape[axis + 1 :])",
        "return jnp.swapaxes(x.reshape(*x.shape[:axis], n // size, size, *x.shape[axis + 1 :]), axis, axis + 1)",
        "tests/units/test_microbatching.py -k sharded or kth",
    ),
    Mutation(
        "two variances are added without the distance of the means",
        "return slot + numerics.convert(new_sum, slot.dtype) + numerics.scaled(distance, cross)",
        "return slot + numerics.convert(new_sum, slot.dtype)",
        "tests/units/test_aggregating.py -k running",
    ),
    Mutation(
        "a namespace loses a name",
        '    "apply_if_finite",\n',
        "",
        "tests/house/test_namespaces.py",
    ),
]


def pytest(copy: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """The tests in the copy, until one fails."""
    words = tests.split(" -k ")
    arguments = [*words[0].split(), *(["-k", words[1]] if words[1:] else [])]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def survives(mutation: Mutation, copy: Path) -> str:
    """Why a mutation was not caught; empty if it was."""
    paths = [p for p in copy.glob(mutation.within) if mutation.old in p.read_text()]
    if len(paths) != 1 or paths[0].read_text().count(mutation.old) != 1:
        return f"its text is in {len(paths)} files, expected once in one"
    (path,) = paths
    text = path.read_text()
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        done = pytest(copy, mutation.tests)
    finally:
        path.write_text(text)
    return "" if done.returncode == 1 else f"pytest exited with {done.returncode}: {done.stdout[-300:]}"


def main(words: list[str]) -> int:
    chosen = [m for m in MUTATIONS if not words or any(w in m.name for w in words)]
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in PARTS:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / part)
        for tests in dict.fromkeys(m.tests for m in chosen):
            done = pytest(copy, tests)
            if done.returncode:
                print(f"fails without a mutation: pytest {tests}\n{done.stdout[-2000:]}")
                return 1
        for mutation in chosen:
            start = time.perf_counter()
            why = survives(mutation, copy)
            alive += bool(why)
            verdict = f"SURVIVES ({why})" if why else "caught"
            print(f"{time.perf_counter() - start:5.1f} s  {mutation.name}: {verdict}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} caught")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
