"""Allocation under shared constraints: who sees what when stock, budgets, floors and slates hold for all at once."""
