"""Model selection: kinds of models under nested cross-validation, and the simplest proposed."""
