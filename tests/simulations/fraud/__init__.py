"""Card payments, of which one in five hundred is fraud: the examples and the calibration of two models, over a loop.

Chargebacks come days later; some are withdrawn, some come too late, and most payments never get one. Both models have
the same labels; one learns from all examples, the other one from one honest payment in twenty.
"""
