"""Goldens: tiny random models whose outputs transformers computes in float64. See tools/make_golden.py."""
