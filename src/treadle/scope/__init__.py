"""What we build, for whom, and when it is good enough: the project file, its requirements."""
