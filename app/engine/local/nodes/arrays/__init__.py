"""Array nodes (map tasks): one node, one task execution, and an attempt or a child execution for each element.

node      runs the elements, a limited number at a time, and decides whether the node succeeds
rules     computes the number of elements, the number that must succeed, inputs, outputs and errors
progress  reports the phases of the elements in batches
elements  runs one element: as a task or as a child execution
"""
