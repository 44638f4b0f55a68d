"""Sources: where bars come from. One file each; a file that starts with `_` is shared floor."""
