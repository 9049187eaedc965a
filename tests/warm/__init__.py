"""Processes of Treadle as forks of one that has the libraries loaded, so that they start fast.

A process that the tests start as ``python -m treadle…`` spends one to three seconds of CPU time
on imports, before it does what a test is about. `server` imports the libraries once and forks for
each start; `popen` asks it, in place of the kernel, wherever the code says ``subprocess.Popen``;
`command` is the command ``treadle`` for scripts. A fork is a process as any other: it has the
arguments, the folder, the environment and the open files that it was given, and a process id of
its own. Its parent is the server, and it has not started from nothing: the tests of just that
are named in ``COLD_TESTS``.
"""
