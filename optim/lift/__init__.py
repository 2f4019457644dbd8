"""What carries a rule on one array over trees: slots, rules, grains, wrappers."""
