"""Deployments and rollouts: what should be live, reconciled step by step, judged by what production
shows.
"""
