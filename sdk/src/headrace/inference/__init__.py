"""Generated from `protos/headrace/inference` by `make protos`."""
