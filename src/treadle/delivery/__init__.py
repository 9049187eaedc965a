"""Deployments and rollouts.

What should be live is reconciled step by step, and judged by what production shows.
"""
