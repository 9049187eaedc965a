"""The project file ``treadle.toml``: what is built, for whom, and the requirements it must meet."""
