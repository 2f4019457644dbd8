"""Compare this library with Optax, Keras and PyTorch in one run: `python -m benchmarks --help`."""
