"""Routes derived from operations, authentication, the event stream and, later, foreign wire
protocols.
"""
