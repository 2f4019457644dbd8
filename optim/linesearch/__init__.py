"""Steps chosen by evaluating the loss along a direction, and the quasi-Newton direction that wants them."""
