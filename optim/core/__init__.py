"""What a transformation is: the pair, its facts, its members, the call that made it, and how it is edited."""
