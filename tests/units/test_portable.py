"""States by name: what a member is called wherever it stands, and what happens where `tx` is not what it was."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import optim

from ..every.rows import close, equal, grads, run, tree

PARAMS = tree()
ADAM = {f"scale_by_adam/{slot}/{path}" for slot in ("mu", "nu") for path in ("w", "b", "deep/s")}
ADAM |= {"scale_by_adam/count", "version"}
WHERE = optim.label_by_path([("*/b", "few"), ("*", "rest")])

LOOSELY = "; strict=False loads what fits and leaves the rest as in state"


def names(tx, params=PARAMS):
    return set(optim.state_dict(tx, tx.init(params)))


def moved(before, after, strict=True, params=PARAMS, steps=3):
    """The states of one transformation after some steps and of another that has loaded it."""
    _, state, _ = run(before, params, steps)
    return state, optim.load_state_dict(after, after.init(params), optim.state_dict(before, state), strict)


def test_names():
    assert names(optim.adam(0.1)) == ADAM
    slash = {"a/b%": jnp.ones(2), "list": [jnp.ones(2), None]}
    expected = {"trace/trace/a%2Fb%25", "trace/trace/list/0", "version"}
    assert names(optim.trace(0.9), slash) == expected
    assert names(optim.trace(0.9), jnp.ones(2)) == {"trace/trace", "version"}
    masked = optim.masked(optim.trace(0.9), {"w": True, "b": False, "deep": False})
    assert names(masked) == {"trace/trace/w", "version"}


WRAPPED = {
    "chain": (optim.chain(optim.clip(1.0), optim.chain(optim.adam(0.1))), set()),
    "named_chain": (optim.named_chain(("clip", optim.clip(1.0)), ("adam", optim.adam(0.1))), set()),
    "masked": (optim.masked(optim.adam(0.1), True), set()),
    "partition": (optim.partition({"all": optim.adam(0.1), "none": optim.sgd(0.1)}, "all"), set()),
    "apply_if_finite": (optim.apply_if_finite(optim.adam(0.1), 3), {"apply_if_finite"}),
    "MultiSteps": (optim.MultiSteps(optim.adam(0.1), 2), {"MultiSteps"}),
    "inject_hyperparams": (optim.inject_hyperparams(optim.adam)(0.1), {"inject_hyperparams"}),
    "scheduled": (optim.adam(optim.linear_schedule(0.1, 0.0, 10)), {"scale_by_schedule"}),
    "lookahead": (optim.lookahead(optim.adam(0.1), 2, 0.5), {"lookahead"}),
    "keras": (optim.chain(optim.scale_by_adam(), optim.scale(-0.1)), set()),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_names_do_not_depend_on_what_is_around(name):
    """And so a state goes into a wrapper and out of it again."""
    tx, own = WRAPPED[name]
    found = names(tx)
    assert found >= ADAM
    assert {n.partition("/")[0] for n in found - ADAM} == own
    plain = optim.adam(0.1)
    _, state, _ = run(plain, PARAMS, 3)
    d = optim.state_dict(plain, state)
    if own - {"scale_by_schedule"}:
        with pytest.warns(UserWarning, match=f"^load_state_dict: d has no '{name}/.*: left as in state$"):
            inside = optim.load_state_dict(tx, tx.init(PARAMS), d, strict=False)
    else:
        inside = optim.load_state_dict(tx, tx.init(PARAMS), d)
    again = optim.state_dict(tx, inside)
    for key in ADAM - {"version"}:
        np.testing.assert_array_equal(again[key], d[key])
    equal(optim.load_state_dict(plain, plain.init(PARAMS), {k: again[k] for k in ADAM}), state)


def test_a_schedule_goes_on_where_the_steps_are():
    schedule = optim.linear_schedule(0.1, 0.0, 10)
    clip = optim.clip_by_global_norm(1.0)
    state, new = moved(optim.adam(0.1), optim.chain(clip, optim.adam(schedule)))
    equal(new[1][0], state[0])
    assert int(new[1][1].count) == 3
    u, _ = optim.chain(clip, optim.adam(schedule)).update(grads(PARAMS, 3), new, PARAMS)
    v, _ = optim.chain(clip, optim.adam(schedule(3))).update(grads(PARAMS, 3), (optim.EmptyState(), state), PARAMS)
    close(u, v)
    _, back = moved(optim.adam(schedule), optim.adam(0.1))
    assert int(back[0].count) == 3


def test_a_schedule_takes_the_nearest_steps():
    """Of gradients inside MultiSteps, which are fewer than those outside."""
    schedule = optim.linear_schedule(0.1, 0.0, 10)
    before, after = (
        optim.inject_hyperparams(lambda learning_rate, tx=tx: optim.chain(tx, optim.scale(learning_rate)))(1.0)
        for tx in (optim.MultiSteps(optim.adam(0.1), 2), optim.MultiSteps(optim.adam(schedule), 2))
    )
    state, new = moved(before, after, steps=4)
    assert int(state.count) == 4
    inner = new.inner_state[0].inner_opt_state
    assert int(inner[0].count) == int(inner[1].count) == 2


def test_no_steps_are_known():
    """Nobody counts in plain momentum, so where a schedule would go on is missing; so is what a schedule leaves."""
    constant, scheduled = optim.sgd(0.1, 0.9), optim.sgd(optim.linear_schedule(0.1, 0.0, 10), 0.9)
    with pytest.raises(ValueError, match=rf"^load_state_dict: d has no 'scale_by_schedule/count'{LOOSELY}$"):
        moved(constant, scheduled)
    with pytest.warns(UserWarning, match=r"d has no 'scale_by_schedule/count': left as in state"):
        state, new = moved(constant, scheduled, strict=False)
    equal(new[0], state[0])
    assert int(new[1].count) == 0
    unused = r"^load_state_dict: the state has no place for 'scale_by_schedule/count'"
    with pytest.raises(ValueError, match=f"{unused}{LOOSELY}$"):
        moved(scheduled, constant)


def test_members_of_one_name_are_told_apart():
    two = optim.partition({"few": optim.adam(0.1), "rest": optim.adam(0.2)}, WHERE)
    expected = {"scale_by_adam@few/count", "scale_by_adam@few/mu/b", "scale_by_adam@few/nu/b", "version"}
    expected |= {f"scale_by_adam@rest/{x}" for x in ("count", "mu/w", "mu/deep/s", "nu/w", "nu/deep/s")}
    assert names(two) == expected
    one = optim.partition({"few": optim.adam(0.1), "rest": optim.sgd(0.2)}, WHERE)
    assert names(one) == {n.replace("@few", "") for n in expected if "@rest" not in n}
    twice = optim.chain(optim.trace(0.5), optim.trace(0.9))
    assert names(twice) == {f"trace{n}/trace/{x}" for n in ("", "#2") for x in ("w", "b", "deep/s")} | {"version"}
    named = optim.named_chain(("a@b", optim.trace(0.5)), ("c", optim.trace(0.9)))
    assert {n.partition("/")[0] for n in names(named)} == {"trace@a%40b", "trace@c", "version"}


def test_groups_are_split_and_joined():
    plain = optim.adam(0.1)
    groups = optim.partition({"few": optim.adam(0.1), "rest": optim.adam(0.1)}, WHERE)
    state, split = moved(plain, groups)
    few, rest = (split.inner_states[k].inner_state[0] for k in ("few", "rest"))
    equal(
        (few.mu["b"], rest.nu["w"], few.count, rest.count), (state[0].mu["b"], state[0].nu["w"], *[state[0].count] * 2)
    )
    assert few.count.unsafe_buffer_pointer() != rest.count.unsafe_buffer_pointer()
    joined = optim.load_state_dict(plain, plain.init(PARAMS), optim.state_dict(groups, split))
    equal(joined, state)
    uneven = split._replace(
        inner_states={**split.inner_states, "few": optim.tree.set(split.inner_states["few"], count=9)}
    )
    with pytest.raises(
        ValueError, match=r"^load_state_dict: d has no 'scale_by_adam/count'; the state has no place for"
    ):
        optim.load_state_dict(plain, plain.init(PARAMS), optim.state_dict(groups, uneven))


def test_another_member_elsewhere_changes_nothing():
    """A name that is not alone any more has its label; what was saved without it is found."""
    before = optim.partition({"few": optim.adam(0.1), "rest": optim.sgd(0.1)}, WHERE)
    after = optim.partition({"few": optim.adam(0.1), "rest": optim.adam(0.1)}, WHERE)
    with pytest.raises(ValueError, match=r"d has no 'scale_by_adam@rest/count', 'scale_by_adam@rest/mu/deep/s', "):
        moved(before, after)
    with pytest.warns(UserWarning, match=r"and 1 more: left as in state"):
        state, new = moved(before, after, strict=False)
    equal(new.inner_states["few"], state.inner_states["few"])
    equal(new.inner_states["rest"], after.init(PARAMS).inner_states["rest"])

    alone, more = optim.chain(optim.trace(0.9)), optim.chain(optim.trace(0.9), optim.masked(optim.trace(0.5), True))
    with pytest.warns(UserWarning, match="trace#2"):
        state, new = moved(alone, more, strict=False)
    equal(new[0], state[0])
    equal(new[1], more.init(PARAMS)[1])
    grouped = optim.partition({"few": optim.trace(0.5), "rest": optim.sgd(0.1)}, WHERE)
    more = optim.chain(optim.trace(0.9), grouped)
    with pytest.warns(UserWarning, match=r"d has no 'trace@few/trace/b': left as in state"):
        state, new = moved(alone, more, strict=False)
    equal(new[0], state[0])
    equal(new[1], more.init(PARAMS)[1])


def test_errors_name_all():
    tx = optim.adam(0.1)
    d = optim.state_dict(tx, tx.init(PARAMS))
    d["scale_by_adam/mu/w"] = jnp.ones((3, 1))
    d["scale_by_adam/nu/b"] = jnp.ones(2, jnp.int32)
    d["scale_by_adam/count"] = jnp.zeros(())
    del d["scale_by_adam/mu/b"]
    d |= {f"trace/{i}": jnp.ones(1) for i in range(6)}
    sentence = (
        "load_state_dict: d has no 'scale_by_adam/mu/b'; the state has no place for 'trace/0', 'trace/1', 'trace/2', "
        "'trace/3' and 2 more; 'scale_by_adam/count' is float32, the state has int32 there; 'scale_by_adam/mu/w' has "
        "shape (3, 1), the state has (3, 2) there; 'scale_by_adam/nu/b' is int32, the state has float32 there"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}{LOOSELY}$"):
        optim.load_state_dict(tx, tx.init(PARAMS), d)
    with pytest.warns(UserWarning, match=f"^{re.escape(sentence)}: left as in state$") as told:
        new = optim.load_state_dict(tx, tx.init(PARAMS), d, strict=False)
    assert len(told) == 1
    assert told[0].filename == __file__
    equal(new, tx.init(PARAMS))


def test_errors_of_arguments():
    tx = optim.adam(0.1)
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match=r"^load_state_dict: d must be a mapping as state_dict gives it, with the key"):
        optim.load_state_dict(tx, state, {})
    with pytest.raises(ValueError, match=r"^load_state_dict: d has the version 2, this library reads 1"):
        optim.load_state_dict(tx, state, {"version": 2})
    with pytest.raises(ValueError, match=r"^state_dict: state is not one of"):
        optim.state_dict(tx, state[:1])
    with pytest.raises(TypeError, match=r"^state_dict: tx must be a transformation"):
        optim.state_dict(1, state)


def test_dtypes_are_those_of_the_fresh_state():
    wide, narrow = optim.adam(0.1), optim.adam(0.1, mu_dtype=jnp.bfloat16)
    _, state, _ = run(narrow, PARAMS, 3)
    d = {k: np.asarray(x) for k, x in optim.state_dict(narrow, state).items()}
    through_npz = {k: x.view("V2") if x.dtype == jnp.bfloat16 else x for k, x in d.items()}
    equal(optim.load_state_dict(narrow, narrow.init(PARAMS), through_npz), state)
    weak = {**d, "scale_by_adam/mu/deep/s": jnp.asarray(0.5)}
    assert weak["scale_by_adam/mu/deep/s"].weak_type
    assert not optim.load_state_dict(wide, wide.init(PARAMS), weak)[0].mu["deep"]["s"].weak_type
    new = optim.load_state_dict(wide, wide.init(PARAMS), through_npz)
    assert new[0].mu["w"].dtype == jnp.float32
    np.testing.assert_array_equal(new[0].mu["w"], state[0].mu["w"].astype(jnp.float32))


def test_keys_are_their_data():
    tx = optim.chain(optim.add_noise(0.1, 0.5, 3))
    _, state, _ = run(tx, PARAMS, 2)
    d = optim.state_dict(tx, state)
    assert d["add_noise/rng_key"].dtype == jnp.uint32
    equal(optim.load_state_dict(tx, tx.init(PARAMS), d), state)
    for kind in (tx.init(PARAMS), jax.eval_shape(tx.init, PARAMS)):
        equal(optim.load_state_dict(tx, kind, d), state)


def test_shapes_will_do():
    tx = optim.adam(0.1)
    _, state, _ = run(tx, PARAMS, 2)
    shapes, d = jax.eval_shape(tx.init, PARAMS), optim.state_dict(tx, state)
    equal(optim.load_state_dict(tx, shapes, d), state)
    del d["scale_by_adam/mu/b"]
    with pytest.raises(ValueError, match=r"^load_state_dict: 'scale_by_adam/mu/b' missing, and state has no value"):
        optim.load_state_dict(tx, shapes, d, strict=False)


def test_shardings_are_those_of_the_fresh_state():
    """Arrays stay in their parts, and what is loaded has buffers of its own, so that both can be donated."""
    mesh = jax.make_mesh((8,), ("d",))
    along = NamedSharding(mesh, PartitionSpec("d"))
    params = {"w": jax.device_put(jnp.ones((8, 2)), along), "b": jnp.zeros(3)}
    tx = optim.adam(0.1)
    state = jax.jit(tx.init)(params)
    d = optim.state_dict(tx, state)
    assert d["scale_by_adam/mu/w"] is state[0].mu["w"]
    host = {k: np.asarray(x) for k, x in d.items()}
    for source in (d, host):
        new = optim.load_state_dict(tx, tx.init(params), source)
        assert new[0].mu["w"].sharding.is_equivalent_to(along, 2)
        assert not new[0].count.committed
        equal(new, state)
    loaded = optim.load_state_dict(tx, tx.init(params), d)
    jax.tree.map(lambda x: x.delete(), loaded)
    equal(state, optim.load_state_dict(tx, tx.init(params), host))


def test_what_is_made_by_hand_is_named_for_its_state(standard_promotion):
    optax = pytest.importorskip("optax", reason="Optax is a test dependency")
    theirs = optim.chain(optim.clip(1.0), optax.adam(0.1))
    assert names(theirs) == ADAM
    _, state, _ = run(theirs, PARAMS, 2)
    ours = optim.adam(0.1)
    equal(optim.load_state_dict(ours, ours.init(PARAMS), optim.state_dict(theirs, state))[0].mu, state[1][0].mu)
    number = optim.GradientTransformation(lambda p: jnp.zeros(()), lambda u, s, p=None: (u, s))
    assert names(number) == {"state", "version"}
