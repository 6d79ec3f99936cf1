"""The study: whether generated images help a grader, shown with intervals or refuted."""
