"""How a grid looks in MLflow, as plain data: runs, tables, notes and the leaderboard."""
