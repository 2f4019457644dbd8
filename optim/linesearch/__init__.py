"""Line searches, and the L-BFGS direction they are usually combined with."""
