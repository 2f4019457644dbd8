"""Leaves as stacks of matrices, and iterative linear algebra."""
