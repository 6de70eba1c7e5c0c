"""How a grid looks in MLflow, as plain data: runs, tables, figures, notes and the leaderboard."""
