"""Transformations around a transformation, one idea per file."""
