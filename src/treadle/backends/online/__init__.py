"""Stores of features for online reads."""
