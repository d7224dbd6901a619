"""The console commands, one file each: parse, call, print."""
