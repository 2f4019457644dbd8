"""What every test runs under: eight devices on the CPU, strict dtype promotion. Warnings are errors: pyproject.toml."""

import os

DEVICES = "--xla_force_host_platform_device_count=8"
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402  JAX reads the environment when it is imported
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def standard_promotion():
    """JAX's default promotion of dtypes, for other libraries that count on it."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def x64():
    """Arrays of Python numbers are float64 and int64."""
    with jax.enable_x64(True):
        yield
