"""What judges generators and graders, callable from Python: studies, the copying audit, evaluation, and the report."""
