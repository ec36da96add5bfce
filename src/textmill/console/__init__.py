"""What people see: progress, fields, formatted numbers."""
