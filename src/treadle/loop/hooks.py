"""What the loop asks of other stages."""

from treadle.kernel.stage import Hook

RULE = Hook("rule")
"""Methods that act on events, by (event class, the rule's name in words).

They take the event's record and the event, issue commands, and return the outcome and its reason.
The loop calls them once for each event, in its own name, with the event as the cause.
"""
