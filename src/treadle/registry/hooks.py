"""What the registry asks of stages that come after it."""

from treadle.kernel.stage import Hook

STILL_NEEDED_BY = Hook("still needed by")
"""Methods that say, in a sentence, who still needs a version (model, number), or None.

One that is needed stays.
"""

DEPLOYED_AT = Hook("deployed at")
"""Methods that give the endpoints of versions: {(model, number): names}."""
