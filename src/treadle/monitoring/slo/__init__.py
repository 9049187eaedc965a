"""Service level objectives: error budgets, burn rates and their alerts."""
