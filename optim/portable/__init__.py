"""States as flat dicts from names to arrays, which can be loaded into changed transformations."""
