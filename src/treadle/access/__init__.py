"""Who may do what: tokens with a role, stored hashed."""
