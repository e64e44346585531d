"""An independent computation of feature vectors, straight from the definition of windows.

It shares no code with headrace and is written to be read, not to be fast.
"""
