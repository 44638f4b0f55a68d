"""Judge: numbers in, verdict out. Nothing here knows where the numbers come from."""
