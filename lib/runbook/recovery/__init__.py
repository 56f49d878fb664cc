"""Recovery: the window, the point, and the way there."""
