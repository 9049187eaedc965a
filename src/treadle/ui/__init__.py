"""Pages for people, and the pictures that pages and reports share."""
