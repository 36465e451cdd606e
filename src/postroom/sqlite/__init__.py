"""A database backend for SQLite with one fair writer at a time inside the process.

Without it, threads that write to one SQLite file poll the busy handler against each other, and one of
them can be passed over for many seconds. Here a writer takes its place in a queue *before* BEGIN, so the
wait is first come, first served, and the busy timeout only ever serves other processes.
"""
