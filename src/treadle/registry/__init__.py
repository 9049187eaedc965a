"""Models, versions, aliases and signed approvals."""
