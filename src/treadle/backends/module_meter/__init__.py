"""Meters that tell what a training step of a module takes."""
