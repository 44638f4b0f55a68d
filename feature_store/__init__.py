"""Know: sources, clock, bars, symbols, features, labels, folds, snapshots."""
