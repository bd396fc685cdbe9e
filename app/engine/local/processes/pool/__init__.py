"""Processes of tasks: the pool starts, adopts, limits and kills them; clients of fork servers and module servers."""
