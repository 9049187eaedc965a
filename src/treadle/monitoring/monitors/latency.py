"""Are answers as fast as is required?"""

from treadle.ports.monitor import Context, Finding, Needs

METRIC = "latency_ms.p99"
MIN_ROWS = 100


class Latency:
    """Holds the window's latency against the requirements that bound it.

    A window with fewer than 100 rows says nothing. A missed bound sets nothing off: training anew
    makes no model faster.
    """

    name = "latency"
    needs = Needs()

    def look(self, context: Context) -> list[Finding]:
        """Check every requirement on the 99 % quantile of the latency.

        Args:
            context: The window.
        """
        if context.window.rows < MIN_ROWS:
            return []
        value = context.window.latency_ms_p99
        return [
            Finding(
                name=requirement.id,
                subject=METRIC,
                value=value,
                threshold=requirement.at_most,
                since=context.window.start,
                raised=not requirement.met_by(value),
                message=f"{METRIC} is {value:g} ms; required is {requirement.bound}.",
            )
            for requirement in context.requirements
            if requirement.metric == METRIC
        ]
