"""Options of XLA under which the tests run, before anything imports JAX."""

from importlib.metadata import version

DEVICES = "--xla_force_host_platform_device_count=8"

# The suite compiles thousands of programs and runs each for microseconds. The first values compile them up to ten times
# as fast as the second ones, XLA's own, which `every.rows.as_users_compile` restores for the tests of rounding.
_OPTIONS = {
    "xla_backend_optimization_level": (0, 3),
    "xla_cpu_parallel_codegen_split_count": (1, 32),
    "xla_cpu_use_fusion_emitters": (False, True),
}
# XLA ends the process where it does not know an option, as later versions do not know this one.
if tuple(map(int, version("jaxlib").split(".")[:2])) > (0, 10):
    del _OPTIONS["xla_cpu_use_fusion_emitters"]

FAST = " ".join(f"--{name}={str(fast).lower()}" for name, (fast, _) in _OPTIONS.items())
DEFAULTS = {name: default for name, (_, default) in _OPTIONS.items()}
