"""Transformations that wrap others: accumulate, skip, pack, freeze, schedule, average."""
