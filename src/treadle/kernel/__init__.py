"""Ids, clock, errors, entity, event and operation: what every package stands on.

It knows nothing about machine learning.
"""
