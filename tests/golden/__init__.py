"""Golden values: losses and outputs of small networks, as they once were. See `make.py`."""
