"""What each `tradewind` sub-command does; imported only when it is called."""
