"""A state as a flat dict from names to arrays, which outlives changes of the transformation it belongs to."""
