"""Transformations one after the other, on a part of the tree, by group."""
