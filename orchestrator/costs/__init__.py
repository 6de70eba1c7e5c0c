"""What a grid costs before it runs: hours, memory, bytes of the store, money."""
