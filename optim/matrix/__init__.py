"""Leaves as stacks of matrices, and iterations on matrices."""
