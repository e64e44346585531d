"""Code that talks to the broker: readers, outputs, acknowledgements, and the lanes built from them."""
