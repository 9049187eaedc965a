"""Have any labels come by the time they are due?"""

from treadle.ports.monitor import Context, Finding, Needs

MIN_ROWS = 100


class MissingLabels:
    """Raised when labels are expected and a window of 100 rows or more has none when due."""

    name = "missing-labels"
    needs = Needs(labels=True)

    def look(self, context: Context) -> list[Finding]:
        """Count the labels of the window's answers.

        Args:
            context: The window, with its labelled answers.
        """
        if context.window.rows < MIN_ROWS or not context.policy.labelled:
            return []
        labelled = len(context.truth)
        return [
            Finding(
                name="labels",
                subject="labels",
                value=float(labelled),
                threshold=1.0,
                since=context.window.end,
                raised=not labelled,
                message=f"{labelled} of {context.window.rows} answers are labelled.",
            )
        ]
