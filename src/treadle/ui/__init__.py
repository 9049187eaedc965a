"""Pages for people, and the charts that pages and reports share."""
