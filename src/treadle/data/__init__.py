"""Dataset versions by content, profiles, and tables on their way between steps."""
