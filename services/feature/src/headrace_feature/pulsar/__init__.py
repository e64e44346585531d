"""What talks to the broker: readers, outputs, acknowledgements; and the lanes built of them."""
