"""One stage in the processes that compute it, and the contract with whatever starts these."""
