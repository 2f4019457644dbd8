"""Options of XLA under which the tests run, before anything imports JAX."""

DEVICES = "--xla_force_host_platform_device_count=8"
# The suite compiles thousands of programs and runs each for microseconds. These options compile them up to ten times as
# fast as the defaults, which `every.rows.as_users_compile` restores for the tests of rounding.
FAST = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
