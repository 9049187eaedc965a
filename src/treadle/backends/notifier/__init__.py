"""What tells people of incidents."""
