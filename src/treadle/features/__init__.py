"""Feature views: what was known at the time, joined to what is asked."""
