"""The checked header of everything that leaves a process, whether to a topic, the store or a file; internal."""
