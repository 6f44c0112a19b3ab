"""Measurements of speed. No test asserts them; `make bench` prints them."""
