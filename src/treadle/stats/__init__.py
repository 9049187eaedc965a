"""Statistics in plain numpy: arrays and counts go in, numbers come out; no I/O, no other stage."""
