"""Code that MLflow's clients receive with a model."""
