"""A grid's report as one page: what it says as plain data, and that as HTML or Markdown. Pure."""
