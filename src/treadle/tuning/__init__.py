"""Tuning: studies that search for hyper-parameters, and their trials."""
