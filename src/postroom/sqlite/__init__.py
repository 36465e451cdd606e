"""A database backend for SQLite with one fair queue of writers.

Without it, threads that write to one SQLite file poll the busy handler against each other, and one of
them can be passed over for many seconds. Here a writer takes its place in a queue *before* BEGIN, so the
wait is first come, first served among our threads, and no process overtakes another that waits. The busy
timeout only ever serves programs that know nothing of this.
"""
