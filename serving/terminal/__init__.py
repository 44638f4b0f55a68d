"""The terminal: the MetaTrader5 package's surface, a simulated terminal that has it, and our one reader of it."""
