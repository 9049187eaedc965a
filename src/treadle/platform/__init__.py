"""Settings and wiring: ``embedded(home)``, ``connect(url)``; the only place that picks backends."""
