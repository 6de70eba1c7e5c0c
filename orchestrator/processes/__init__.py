"""Fresh processes that are there at once: forked from one that has imported what they need."""
