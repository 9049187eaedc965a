"""Settings and wiring: ``embedded(home)`` and ``connect(url)``; the only place that picks backends."""
