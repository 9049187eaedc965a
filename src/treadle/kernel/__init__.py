"""Ids, clock, errors, entity, event, operation: what every package stands on; knows nothing about
machine learning.
"""
