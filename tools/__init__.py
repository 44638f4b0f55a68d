"""For maintainers: what the test command runs beside the tests."""
