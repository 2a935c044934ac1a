"""What tests share: made-up data, studies, plans and records."""
