"""An independent computation of what a loop must make of its input topics.

It is written from the design, to be checked by reading, and shares no code with headrace but the compiled definition,
which it takes as plain data. Its input is what the streams' topics hold; its output is what counts, which examples
follow, and what is wrong with the vectors, the order and the models that were logged.
"""
