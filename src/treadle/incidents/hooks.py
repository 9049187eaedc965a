"""What incidents ask of stages that come after them."""

from treadle.kernel.stage import Hook

DECIDED = Hook("decided")
"""Methods that say what was decided about events: they take the events' numbers, and yield the
event's number, when it was decided, by which rule, and what, in words.
"""
