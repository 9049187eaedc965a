"""Is the live model older than its project wants it to be?"""

from datetime import timedelta

from treadle.ports.monitor import Context, Finding, Needs


class Staleness:
    """Holds the champion's age at the window's end against ``older than`` in ``[retrain]``."""

    name = "staleness"
    needs = Needs()

    def look(self, context: Context) -> list[Finding]:
        """Measure the champion's age in days, where a limit is declared.

        Args:
            context: The window.
        """
        limit, created_at = context.policy.older_than, context.version_created_at
        if limit is None or created_at is None:
            return []
        age = context.window.end - created_at
        age_days, limit_days = round(age / timedelta(days=1), 1), limit / timedelta(days=1)
        return [
            Finding(
                name="age",
                subject="age_days",
                value=age_days,
                threshold=limit_days,
                since=created_at + limit,
                raised=age > limit,
                message=f"{context.window.version} is {age_days:g} days old, "
                f"the limit is {limit_days:g}.",
                trigger="stale",
            )
        ]
