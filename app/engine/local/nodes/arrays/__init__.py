"""Array nodes (map tasks): one node, one task execution, and an attempt or a child execution for each element.

node     drives the indices, in order and a limited number at a time; decides what becomes of the node
rules    size, how many must succeed, inputs of an element, outputs and errors of all; pure
panel    what is reported of the indices, batched
elements an index as a task; an index as a child execution
"""
