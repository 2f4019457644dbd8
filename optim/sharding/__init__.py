"""Many devices: where each slot of a state lives, and optimizers that share their work among devices.

A parameter's sharding decides those of its slots. `state_specs` tells them before the state exists; `sharded` gives an
optimizer another sharding than its parameters have (ZeRO-1).
"""
