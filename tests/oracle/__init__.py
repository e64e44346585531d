"""An independent computation of what a loop must make of its input topics.

It is written from the design, can be checked by reading, and shares no code with headrace except the compiled
definition, which it takes as plain data. Its input is the content of the streams' topics; its output is which events
count, which examples follow, and what is wrong with the logged vectors, the order and the models.
"""
